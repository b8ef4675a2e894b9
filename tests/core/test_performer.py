"""Performer: recorded kernels of performer-pytorch, slices, packing, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from perturb import relative
from safetensors.torch import load_file
from torch import Tensor

import biolm.core.performer as module
from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.analysis import attention_profile
from biolm.core.maps import MapPieces, leading, pieces_of
from biolm.core.performer import Performer, PerformerOptions, draw_projection, features_of
from biolm.errors import ConfigError

TOLERANCE = 2e-5


def _performer(projection: Tensor, heads: int, **options: object) -> Performer:
    causal = bool(options.pop("causal", False))
    rows, width = projection.shape
    config = CoreConfig(
        vocab_size=3, d_model=heads * width, n_layers=1, n_heads=heads, d_ff=8, head_dim=width, causal=causal
    )
    made = Performer(config, 0, PerformerOptions(features=rows, **options))  # type: ignore[arg-type]
    if len(made.projection):
        made.projection.copy_(projection)
    return made.eval()


def _mixed(performer: Performer, parts: list[Tensor]) -> Tensor:
    """Attention of padded tensors ``(b, h, n, e)``, as packed documents."""
    size, length = parts[0].shape[0], parts[0].shape[2]
    spans = [(i * length, (i + 1) * length, i * length, (i + 1) * length) for i in range(size)]
    packed = [part.transpose(1, 2).flatten(0, 1) for part in parts]
    return performer.mix(*packed, spans).unflatten(0, (size, length)).transpose(1, 2)


@pytest.mark.parametrize("largest", [1 << 23, 300])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("softmax", {"stabiliser": "head"}),
        ("softmax_causal", {"stabiliser": "head", "causal": True}),
        ("generalized_relu", {"kernel": "relu"}),
        ("no_projection", {"kernel": "none"}),
    ],
)
def test_recorded_attention(
    goldens: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, object], largest: int
) -> None:
    held = load_file(goldens / "performer" / "favor.safetensors")
    monkeypatch.setattr(module, "_LARGEST", largest)
    monkeypatch.setattr(module, "_SLICE", 128 if largest > 300 else 5)
    parts = [held[part] for part in "qkv"]
    found = _mixed(_performer(held["projection"], 3, **options), parts)
    assert relative(found, held[f"out/{name}"]) < TOLERANCE


@pytest.mark.parametrize("options", [{"stabiliser": "document"}, {"stabiliser": "batch"}, {"kernel": "relu"}])
def test_other_kernels_are_told_apart(goldens: Path, options: dict[str, object]) -> None:
    held = load_file(goldens / "performer" / "favor.safetensors")
    found = _mixed(_performer(held["projection"], 3, **options), [held[part] for part in "qkv"])
    assert relative(found, held["out/softmax"]) > 1e-3


@pytest.mark.parametrize("eps", ["_SOFTMAX_EPS", "_CAUSAL_EPS"])
def test_the_small_numbers_matter(goldens: Path, monkeypatch: pytest.MonkeyPatch, eps: str) -> None:
    held = load_file(goldens / "performer" / "favor.safetensors")
    monkeypatch.setattr(module, eps, 1e-3 if eps == "_CAUSAL_EPS" else 0.0)
    performer = _performer(held["projection"], 3, stabiliser="head", causal=True)
    assert relative(_mixed(performer, [held[part] for part in "qkv"]), held["out/softmax_causal"]) > 1e-4


def test_recorded_projections(goldens: Path) -> None:
    held = load_file(goldens / "performer" / "favor.safetensors")
    for name, scaling in (("projection", 0), ("projection_scaling_1", 1)):
        generator = torch.Generator().manual_seed(42)
        drawn = draw_projection(19, 8, scaling=scaling, generator=generator)
        assert relative(drawn, held[name]) < TOLERANCE
    assert (features_of(64), features_of(16), features_of(32)) == (266, 44, 110)


def _model(**options: object) -> Transformer:
    torch.manual_seed(0)
    config = CoreConfig(
        vocab_size=30, d_model=24, n_layers=2, n_heads=3, d_ff=32, head="linear", mixer="performer",
        mixer_options={"performer": options}, position="none",
    )  # fmt: skip
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


@pytest.mark.parametrize("stabiliser", ["document", "head", "batch"])
def test_documents_and_their_batch_mates(stabiliser: str) -> None:
    model = _model(stabiliser=stabiliser)
    ids = torch.randint(0, 30, (3, 9), generator=torch.Generator().manual_seed(1))
    keep = torch.arange(9) < torch.tensor([9, 1, 5])[:, None]
    with torch.inference_mode():
        together = model(Batch.from_padded(ids, keep)).to_padded().last_hidden_state
        each = [Batch.from_padded(ids[i : i + 1, :n]) for i, n in enumerate((9, 1, 5))]
        alone = [model(one).last_hidden_state for one in each]
    worst = max(relative(together[i, : len(one)], one) for i, one in enumerate(alone))
    assert (worst > 1e-5) if stabiliser == "batch" else (worst < 1e-5)


def test_counted_keys_are_padded_tokens() -> None:
    """One key that counts for 7 gives what 7 equal keys with values of zero give."""
    performer = _performer(draw_projection(11, 4), 2, counted=True, stabiliser="document")
    query, key, value = (torch.randn(5, 2, 4) for _ in range(3))
    weights = torch.tensor([0, 0, 0, 0, 7])
    found = performer.mix(query, key, value, [(0, 5, 0, 5)], weights)
    more = torch.cat([key, key[-1:].expand(6, -1, -1)])
    values = torch.cat([value[:-1], torch.zeros(7, 2, 4)])
    plain = _performer(performer.projection, 2)
    wanted = plain.mix(torch.cat([query, query[-1:].expand(6, -1, -1)]), more, values, [(0, 11, 0, 11)])
    assert relative(found, wanted[:5]) < 1e-5


def test_gradients_and_redraw() -> None:
    model = _model().train()
    batch = Batch.from_padded(torch.arange(12)[None])
    model(batch).logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.layers.parameters())
    mixer = model.layers[0].attention
    before = mixer.projection.clone()
    mixer.redraw(torch.Generator().manual_seed(3))
    assert not torch.equal(before, mixer.projection)
    assert "layers.0.attention.projection" in model.state_dict()


def test_refused() -> None:
    for wrong in ({"kernel": "exp"}, {"stabiliser": "cell"}, {"features": -1}, {"scaling": 2}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} of performer must be"):
            _model(**wrong)
    with pytest.raises(ConfigError, match="counted of performer needs"):
        _model(counted=True, kernel="relu")
    with pytest.raises(ConfigError, match="has no option 'heads'"):
        _model(heads=3)
    with pytest.raises(ConfigError, match="position='rope'"):
        Transformer(
            CoreConfig(
                vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, position="rope", mixer="performer"
            )
        )


@torch.inference_mode()
def test_maps_are_the_weights_that_are_mixed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CoreConfig(
        vocab_size=9,
        d_model=16,
        n_layers=1,
        n_heads=2,
        d_ff=8,
        head_dim=8,
        position="none",
        mixer="performer",
    )
    core, batch = Transformer(config).eval(), Batch.from_padded(torch.arange(14).reshape(2, 7) % 9)
    performer = core.layers[0].attention
    query, key, value = (torch.randn(14, 2, 8) for _ in range(3))
    spans = [(0, 5, 0, 5), (5, 14, 5, 14)]
    mixed = performer.mix(query, key, value, spans)
    for largest in (1 << 27, 1):
        monkeypatch.setattr(module, "_LARGEST_MAP", largest)
        maps = performer.maps(query, key, spans)
        assert isinstance(maps[0], Tensor) == (largest > 1)
        for weights, (start, end, _, _) in zip(maps, spans, strict=True):
            whole = torch.cat(list(pieces_of(weights)), 1)
            by_hand = (whole @ value[start:end].transpose(0, 1)).transpose(0, 1)
            assert relative(by_hand, mixed[start:end]) < TOLERANCE
        profile = attention_profile(core, batch, skip=(1, 1))
        assert profile.documents == 2
        if largest > 1:
            once = profile
    assert relative(profile.entropy, once.entropy) < TOLERANCE
    assert relative(profile.mean_rank, once.mean_rank) < TOLERANCE
    weights = torch.rand(1, 6, 6)
    assert torch.equal(leading(weights, 4), weights[:, :4, :4])
    rows = MapPieces((1, 6, 6), lambda: iter(weights.split(4, 1)))
    assert torch.equal(torch.cat(list(pieces_of(leading(rows, 5))), 1), weights[:, :5, :5])
