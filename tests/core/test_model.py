"""The transformer as a whole: checkpointing, compiling, early stop, heads on chosen rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from perturb import perturb, relative

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer

CORE = CoreConfig(vocab_size=20, d_model=16, n_layers=3, n_heads=2, d_ff=24, position="rope", head="linear")


def _model(**switches: object) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(CoreConfig(**{**CORE.as_dict(), **switches}))  # type: ignore[arg-type]
    perturb(model)
    return model


def _batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 20, (4, 9), generator=generator)
    return Batch.from_padded(ids, torch.arange(9) < torch.tensor([9, 1, 5, 7])[:, None])


def _gradients(model: Transformer) -> dict[str, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(3)  # dropout must draw the same in both runs
    model(_batch()).logits.square().mean().backward()
    return {name: x.grad.clone() for name, x in model.named_parameters() if x.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_changes_memory_not_gradients(dropout: float) -> None:
    model = _model(dropout_residual=dropout).train()
    wanted = _gradients(model)
    calls = []
    model.layers[1].register_forward_pre_hook(lambda *_: calls.append(1))
    model.gradient_checkpointing = True
    found = _gradients(model)
    assert len(calls) == 2  # once forward, once again in the backward pass
    assert found.keys() == wanted.keys()
    assert all(relative(found[name], wanted[name]) < 1e-5 for name in wanted if wanted[name].any())


@pytest.mark.slow
# torch's own compiler uses what torch deprecates.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_compiled_layers_agree() -> None:
    model = _model(n_layers=1).eval()
    with torch.inference_mode():
        wanted = [model(_batch(seed)).logits for seed in range(2)]
        model.compile_layers()
        found = [model(_batch(seed)).logits for seed in range(2)]
    assert all(relative(a, b) < 1e-5 for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("processor", "bits"), [("AVX2", 256), ("AVX512", 512), ("DEFAULT", None)])
def test_layers_compiled_for_another_processor_are_not_read_from_the_cache(
    processor: str, bits: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options are part of the name under which torch keeps what it compiled; the processor is not."""
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: given.append(options))
    _model(n_layers=2).compile_layers()
    options = {} if bits is None else {"options": {"cpp.simdlen": bits}}
    assert given == [{"dynamic": True, **options}] * 2


def test_early_stop_gives_the_hidden_state_without_final_norm_or_head() -> None:
    model = _model().eval()
    with torch.inference_mode():
        states = model(_batch(), hidden_states=True).hidden_states
        for depth in range(3):
            output = model(_batch(), n_layers=depth)
            assert torch.equal(output.last_hidden_state, states[depth])
            assert output.logits is None
        assert torch.equal(model(_batch(), n_layers=3).last_hidden_state, states[3])


def test_head_on_chosen_rows_only() -> None:
    model = _model().eval()
    rows = torch.tensor([0, 9, 13])
    with torch.inference_mode():
        every, chosen = model(_batch()).logits, model(_batch(), logits=rows).logits
        assert torch.allclose(chosen, every[rows], atol=1e-5)
        assert model(_batch(), logits=False).logits is None


def test_batch_mates_do_not_matter() -> None:
    model = _model().eval()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 20, (6, 8), generator=generator)
    lengths = torch.tensor([8, 3, 8, 1, 5, 8])
    mask = torch.arange(8) < lengths[:, None]
    with torch.inference_mode():
        together = model(Batch.from_padded(ids, mask)).to_padded().logits
        for i, n in enumerate(lengths):
            alone = model(Batch.from_padded(ids[i : i + 1, :n])).logits
            assert relative(together[i, :n], alone) < 1e-5
        assert not together[~mask].any()
