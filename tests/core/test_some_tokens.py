"""States of some tokens only: those of a whole pass, with the same gradients, for every kind of layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from perturb import perturb

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.kernels import _with_one_more, attend
from biolm.core.layout import Layout, Rule
from biolm.errors import ConfigError, InputError

SIZES: dict[str, Any] = {
    "vocab_size": 20,
    "d_model": 16,
    "n_layers": 2,
    "n_heads": 4,
    "d_ff": 12,
    "head": "mlm",
}
KINDS: dict[str, dict[str, Any]] = {
    "pre": {},
    "post": {"block": "post", "embed_norm": True, "position": "learned"},
    "sandwich": {"block": "sandwich", "norm": "rmsnorm"},
    "parallel": {"block": "parallel"},
    "parallel, one norm": {"block": "parallel", "shared_norm": True},
    "rope": {"position": "rope", "qk_norm": "head"},
    "alibi": {"position": "alibi"},
    "t5": {"position": "t5"},
    "grouped": {"n_kv_heads": 2, "position": "rope"},
    "softcap": {"attn_softcap": 3.0},
    "one layer for all": {"share_layers": True, "n_layers": 3},
    "scaled": {"layer_scale": True, "glu": True},
    "last layer of windows": {"window": 2, "windowed_layers": (1,), "position": "rope"},
    "causal": {"causal": True, "position": "rope"},
}
LENGTHS = (7, 1, 12, 5)
# None of the second document, all of the last.
ROWS = torch.tensor([0, 3, 6, 9, 10, 18, 20, 21, 22, 23, 24])


def batch_of(private: bool = False) -> Batch:
    ids = torch.randint(0, 20, (4, 12), generator=torch.Generator().manual_seed(0))
    batch = Batch.from_padded(ids, torch.arange(12) < torch.tensor(LENGTHS)[:, None])
    return dataclasses.replace(batch, private=torch.arange(25) % 3 == 0) if private else batch


def model_of(switches: dict[str, Any]) -> Transformer:
    torch.manual_seed(0)
    model = perturb(Transformer(CoreConfig(**(SIZES | switches))))
    assert isinstance(model, Transformer)
    return model.eval()


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_some_tokens_are_those_of_the_whole_pass(kind: str, private: bool) -> None:
    model, batch = model_of(KINDS[kind]), batch_of(private)
    found, wanted = model(batch, only=ROWS), model(batch)
    assert found.last_hidden_state.shape == (len(ROWS), 16)
    assert torch.allclose(found.last_hidden_state, wanted.last_hidden_state[ROWS], atol=1e-5)
    assert torch.allclose(found.logits, wanted.logits[ROWS], atol=1e-4)
    assert torch.equal(found.states(ROWS), found.last_hidden_state)
    assert torch.equal(wanted.states(ROWS), wanted.last_hidden_state[ROWS])
    weights = torch.linspace(-1, 1, found.logits.numel()).view_as(found.logits)
    gradients = []
    for output in (found.logits, wanted.logits[ROWS]):
        model.zero_grad()
        (output * weights).sum().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    for name, gradient in gradients[1].items():
        assert torch.allclose(gradients[0][name], gradient, atol=1e-3, rtol=1e-3), name


@pytest.mark.parametrize("kernel", ["math", "sdpa", "flex"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_kernels_agree(kernel: str) -> None:
    model, batch = model_of(KINDS["alibi"]), batch_of(private=True)
    with torch.no_grad():
        wanted = model(batch).last_hidden_state[ROWS]
        model.kernel = kernel
        assert torch.allclose(model(batch, only=ROWS).last_hidden_state, wanted, atol=1e-5)


def test_one_more_query_for_each_document_changes_no_other() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = batch_of()
    layout = Layout.of(batch.offsets, batch.positions, batch.max_length).asking(ROWS)
    query = torch.randn(len(ROWS), 4, 4, generator=generator)
    key, value = torch.randn(2, 25, 4, 4, generator=generator)
    wanted = attend(query, key, value, layout, Rule(scale=0.5), kernel="math")
    places, offsets, longest = _with_one_more(layout)
    assert (offsets.diff() - layout.q_offsets.diff()).tolist() == [1, 1, 1, 1]
    assert longest > offsets.diff().max() - 1
    more = torch.full((len(ROWS) + 4, 4, 4), 9.0).index_copy(0, places, query)
    wider = dataclasses.replace(layout, q_offsets=offsets, q_positions=torch.zeros(len(more)), max_q=longest)
    found = attend(more, key, value, wider, Rule(scale=0.5), kernel="math")
    assert torch.allclose(found[places], wanted, atol=1e-6)


def test_the_last_layer_asks_for_these_tokens_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(query, *args, **kwargs):
        seen.append(len(query))
        return attend(query, *args, **kwargs)

    monkeypatch.setattr("biolm.core.attention.attend", noted)
    model_of({})(batch_of(), only=ROWS)
    model_of({"causal": True})(batch_of(), only=ROWS)
    assert seen == [25, len(ROWS), 25, 25]


def test_recomputed_layers_agree() -> None:
    model, batch = model_of({"dropout_residual": 0.0}), batch_of()
    gradients = []
    for model.gradient_checkpointing in (False, True):
        model.train().zero_grad()
        model(batch, only=ROWS).logits.logsumexp(-1).sum().backward()
        gradients.append(model.layers[1].attention.key.weight.grad.clone())
    assert torch.allclose(*gradients)


def test_no_token_at_all() -> None:
    output = model_of({})(batch_of(), only=torch.zeros(0, dtype=torch.long))
    assert output.last_hidden_state.shape == (0, 16)
    assert output.logits.shape == (0, 20)


@pytest.mark.parametrize(
    "more", [{"hidden_states": True}, {"attentions": True}, {"n_layers": 1}, {"cache": None}]
)
def test_what_needs_all_tokens_is_refused(more: dict[str, Any]) -> None:
    model, batch = model_of({"causal": True}), batch_of()
    if "cache" in more:
        more = {"cache": model.new_cache()}
    with pytest.raises(ConfigError, match="whole, plain forward pass"):
        model(batch, only=ROWS, **more)
    with pytest.raises(InputError, match="cannot be padded"):
        model(batch, only=ROWS).to_padded()
