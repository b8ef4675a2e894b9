"""Private tokens: kernels agree, prompts do not see them, each is as if it were alone; generation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from packs import make_core, pack_of
from test_masked_values import METADATA, SWITCHES, cells_of

from biolm.batch import Batch
from biolm.core.kernels import attend, choose_kernel
from biolm.core.layout import Layout, Rule
from biolm.errors import ConfigError, InputError
from biolm.objectives.generate_values import generate_values
from biolm.objectives.registry import make
from biolm.objectives.repack import take_tokens

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")


def scene(lengths: list[int]) -> Batch:
    batch = cells_of(lengths)
    private = torch.rand(len(batch.ids), generator=torch.Generator().manual_seed(1)) < 0.4
    private[batch.offsets[:-1].long()] = False
    return dataclasses.replace(batch, private=private)


@pytest.mark.parametrize("switches", [{}, {"causal": True}, {"position": "alibi"}, {"window": 3}])
def test_each_private_token_is_as_if_alone_with_the_prompt(switches: dict[str, object]) -> None:
    core, batch = make_core(**(SWITCHES | switches)), scene([9, 9, 14, 1])
    states = core(batch).last_hidden_state.detach()
    if "causal" in switches or "window" in switches or "position" in switches:
        positions = batch.positions
    else:
        positions = None
    for row in range(len(batch.ids)):
        keep = ~batch.private
        keep[row] = True
        only = torch.zeros_like(batch.private)
        only[row] = batch.private[row]
        alone = take_tokens(dataclasses.replace(batch, private=only), keep)
        if positions is not None:
            # Taking tokens closes the gaps; where places matter they must stay.
            alone = dataclasses.replace(alone, positions=positions[keep])
        place = int(keep[:row].sum())
        found = core(alone).last_hidden_state[place].detach()
        assert torch.allclose(found, states[row], atol=2e-5), row


@pytest.mark.parametrize("switches", [{}, {"causal": True}, {"position": "t5"}, {"window": 2}])
def test_kernels_agree(switches: dict[str, object]) -> None:
    core, batch = make_core(**(SWITCHES | switches)), scene([9, 9, 14, 1, 3])
    found = {}
    with torch.no_grad():
        for core.kernel in ("math", "sdpa", "flex", "auto"):
            found[core.kernel] = core(batch).last_hidden_state
        plain = core(dataclasses.replace(batch, private=None)).last_hidden_state
    for name, states in found.items():
        assert torch.allclose(states, found["math"], atol=2e-5), name
    assert not torch.allclose(plain, found["math"], atol=1e-2)


def test_attention_by_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 9, 2, 4, generator=generator)
    private = torch.tensor([0, 1, 0, 1, 1, 0, 0, 0, 1], dtype=torch.bool)
    layout = Layout.of(
        torch.tensor([0, 5, 9], dtype=torch.int32), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3]), 5, private
    )
    wanted = torch.zeros_like(query)
    for i in range(9):
        seen = [j for j in range(9) if (i < 5) == (j < 5) and (not private[j] or i == j)]
        for head in range(2):
            weights = torch.stack([query[i, head] @ key[j, head] * 0.5 for j in seen]).softmax(0)
            wanted[i, head] = sum(w * value[j, head] for w, j in zip(weights, seen, strict=True))
    for name in ("math", "sdpa", "flex"):
        layout.cache.clear()
        assert torch.allclose(
            attend(query, key, value, layout, Rule(scale=0.5), kernel=name), wanted, atol=1e-5
        ), name


def test_maps_show_what_is_hidden() -> None:
    core, batch = make_core(**SWITCHES), scene([9])
    weights = core(batch, attentions=True).attentions[0][0].detach()
    hidden = batch.private[None, :] & ~torch.eye(9, dtype=torch.bool)
    assert (weights[:, hidden] == 0).all()
    assert (weights[:, ~hidden] > 0).all()


def test_half_precision_on_a_gpu_is_not_left_to_a_kernel_that_cannot() -> None:
    query = torch.empty(4, 2, 8, dtype=torch.bfloat16, device="meta")
    # Only the device's name is looked at, so a stand-in will do.
    query = type("Query", (), {"is_cuda": True, "dtype": query.dtype, "shape": query.shape})()
    assert choose_kernel(query, Rule(), None) == "varlen"
    assert choose_kernel(query, Rule(), None, private=True) == "flex"


def test_a_cache_refuses_private_tokens() -> None:
    core = make_core(causal=True, head="linear", position="rope")
    batch = dataclasses.replace(pack_of([3]), private=torch.tensor([False, True, False]))
    with pytest.raises(InputError, match="takes no private tokens"):
        core(batch, cache=core.new_cache())


def test_masked_values_may_be_private() -> None:
    core, batch = make_core(**SWITCHES), cells_of([7, 15, 9])
    objective = make("masked_values", METADATA, {"private": True, "rates": [0.5]})
    prepared = objective.prepare(batch, batch.index, 0, 0)
    hidden = torch.zeros(31, dtype=torch.bool)
    hidden[prepared.rows] = True
    assert torch.equal(prepared.batch.private, hidden)
    open_to_all = make("masked_values", METADATA, {"rates": [0.5]})
    loss, _ = objective.loss(core, prepared)
    assert loss.item() != pytest.approx(
        open_to_all.loss(core, open_to_all.prepare(batch, batch.index, 0, 0))[0].item()
    )


def test_generation_round_by_round() -> None:
    core, batch = make_core(**SWITCHES), cells_of([9, 6, 4])
    unknown = torch.zeros(19, dtype=torch.bool)
    unknown[[2, 3, 5, 7, 8, 10, 12, 14]] = True
    found = generate_values(core, batch, unknown, rounds=3)
    assert torch.equal(found[~unknown], batch.values[~unknown])
    # Cell by cell and round by round, with one prediction at a time.
    for start, end in ((0, 9), (9, 15), (15, 19)):
        ids, values = batch.ids[start:end], batch.values[start:end].clone()
        left = unknown[start:end].nonzero().flatten().tolist()
        total = len(left)
        for number in range(3):
            predicted = {}
            for row in left:
                keep = [i for i in range(end - start) if i not in left or i == row]
                read = values[keep].clone()
                read[keep.index(row)] = -1
                private = torch.tensor([place == row for place in keep])
                alone = dataclasses.replace(pack_of([len(keep)], ids[keep], read), private=private)
                with torch.no_grad():
                    logits = core(alone).logits
                predicted[row] = logits[keep.index(row)].item()
            due = total * (number + 1) // 3 - total * number // 3
            for row in sorted(left, key=lambda place: -predicted[place])[:due]:
                values[row] = predicted[row]
                left.remove(row)
        assert not left
        assert torch.allclose(found[start:end], values, atol=1e-3)
    again = generate_values(
        core, dataclasses.replace(batch, values=batch.values.masked_fill(unknown, 99.0)), unknown, rounds=3
    )
    assert torch.equal(again, found)


def test_generated_values_are_read_as_they_are() -> None:
    core, batch = make_core(**SWITCHES), cells_of([9, 6, 4])
    unknown = torch.arange(19) % 3 == 1
    whole = dataclasses.replace(batch, values=batch.values.to(torch.int16))
    wanted = generate_values(core, batch, unknown, rounds=4)
    assert torch.equal(generate_values(core, whole, unknown, rounds=4), wanted)
    assert (wanted != wanted.round()).any()
    bins = make_core(value_encoder="bins", n_values=22, head="value", position="none")
    with torch.no_grad():
        bins.head.last.bias.fill_(500.0)
    found = generate_values(bins, whole, unknown, mask_value=20, rounds=4)
    assert torch.equal(found[~unknown], batch.values[~unknown])
    assert (found[unknown] == 21).all()


def test_generation_refuses() -> None:
    core, batch = make_core(**SWITCHES), cells_of([3])
    unknown = torch.tensor([False, True, True])
    with pytest.raises(ConfigError, match="rounds"):
        generate_values(core, batch, unknown, rounds=0)
    with pytest.raises(InputError, match="tokens with values"):
        generate_values(core, pack_of([3]), unknown)
    with pytest.raises(ConfigError, match="head 'value'"):
        generate_values(make_core(), batch, unknown)
