"""Convolutions over packed documents against plain sums in float64, and the state that they carry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from perturb import relative
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig, SamplingOptions, Transformer, generate
from biolm.core.convolve import Modes, fft_convolve, fir, modal
from biolm.core.layout import Layout
from biolm.errors import ConfigError, InputError

TAPS = {"taps": 7, "groups": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "hyena_short": TAPS,
    "hyena_medium": {"taps": 130, "groups": 4},
    "hyena_long": {"modes": 4},
    "hyena_modal": {"modes": 3, "split": "heads", "projection_bias": True, "fir_bias": True},
    "hyena_implicit": {"network_width": 6},
    "attention_stored_rope": {"factor": 2.0},
}
MIXERS = [*OPTIONS, ("hyena_short", "hyena_medium", "hyena_long", "attention_stored_rope")]


def _layout(lengths: list[int]) -> Layout:
    offsets = torch.tensor([0, *lengths]).cumsum(0).int()
    return Layout.of(offsets, torch.cat([torch.arange(n) for n in lengths]), max(lengths))


def _slow(x: Tensor, kernel: Tensor, lengths: list[int]) -> Tensor:
    """The sum itself, document by document."""
    out = []
    for piece in x.double().split(lengths):
        y = torch.zeros_like(piece)
        for i in range(len(piece)):
            for j in range(min(i + 1, kernel.shape[1])):
                y[i] += kernel[:, j].double() * piece[i - j]
        out.append(y)
    return torch.cat(out)


LENGTHS = st.lists(st.integers(1, 150), min_size=1, max_size=4)


@settings(max_examples=25)
@given(LENGTHS, st.sampled_from([1, 3, 7, 40, 128, 200]), st.sampled_from([1, 2, 4]))
def test_taps_are_summed_inside_each_document(lengths: list[int], taps: int, groups: int) -> None:
    generator = torch.Generator().manual_seed(sum(lengths))
    x = torch.randn(sum(lengths), 4, generator=generator)
    weights = torch.randn(groups, taps, generator=generator)
    found, after = fir(x, weights, _layout(lengths))
    assert after is None
    wanted = _slow(x, weights.repeat_interleave(4 // groups, 0), lengths)
    assert relative(found.double(), wanted) < 1e-5


def _modes(complex_ones: bool) -> Modes:
    generator = torch.Generator().manual_seed(1)
    if not complex_ones:
        rates = -torch.rand(3, 4, generator=generator)
        residues = torch.randn(3, 4, generator=generator)
        return Modes(lambda steps: torch.exp(rates[:, :, None] * steps), residues)
    poles = torch.polar(torch.rand(3, 4, generator=generator), 6 * torch.rand(3, 4, generator=generator))
    residues = torch.view_as_complex(torch.randn(3, 4, 2, generator=generator))
    return Modes(lambda steps: poles[:, :, None] ** steps, residues)


@settings(max_examples=25)
@given(LENGTHS, st.booleans(), st.sampled_from(["auto", "blocks", "fft"]))
def test_modes_are_summed_inside_each_document(lengths: list[int], wide: bool, method: str) -> None:
    modes = _modes(wide)
    x = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(sum(lengths)))
    found, _ = modal(x, modes, _layout(lengths), method=method)
    # The definition, every lag by itself.
    powers = modes.power(torch.arange(max(lengths)))
    plain = torch.einsum("cs,cse->ce", modes.residues, powers)
    kernel = (plain.real if plain.is_complex() else plain).float()
    assert relative(modes.kernel(max(lengths)), kernel) < 1e-6
    assert relative(found.double(), _slow(x, kernel, lengths)) < 1e-5
    assert relative(fft_convolve(x, kernel, _layout(lengths)), found) < 1e-5


@pytest.mark.parametrize("wide", [False, True])
def test_a_long_kernel_is_the_sum_of_its_modes(wide: bool) -> None:
    """Longer than the pieces that it is computed in: 256 blocks of 64 lags."""
    modes, length = _modes(wide), 64 * 256 + 100
    steps = torch.arange(length)
    parts = [torch.einsum("cs,cse->ce", modes.residues, modes.power(some)) for some in steps.split(512)]
    lags = torch.cat(parts, 1)
    found = modes.kernel(length)
    assert found.shape == (3, length)
    assert relative(found, lags.real if wide else lags) < 1e-6


def test_the_state_is_the_sum_that_defines_it() -> None:
    modes, lengths = _modes(False), [5, 130, 64]
    x = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(0))
    start = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(1))
    _, after = modal(x, modes, _layout(lengths), start)
    for number, piece in enumerate(x.split(lengths)):
        state = start[number]
        for token in piece:
            state = modes.power(torch.tensor([1]))[:, :, 0] * state + token[:, None]
        assert relative(after[number], state) < 1e-5


def _model(mixer: str | tuple[str, ...], **changes: Any) -> Transformer:
    torch.manual_seed(0)
    names = (mixer,) if isinstance(mixer, str) else mixer
    fields = {
        "vocab_size": 20, "d_model": 8, "n_layers": len(names), "n_heads": 2, "d_ff": 8, "position": "none",
        "causal": True, "head": "linear", "max_length": 300, "mixer": mixer,
        "mixer_options": {name: OPTIONS[name] for name in names},
    }  # fmt: skip
    model = Transformer(CoreConfig(**{**fields, **changes})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "log_poles" not in name and "poles" not in name and "rates" not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("mixer", MIXERS, ids=str)
@torch.inference_mode()
def test_a_document_stands_alone_and_sees_no_later_token(mixer: str | tuple[str, ...]) -> None:
    model = _model(mixer)
    lengths = [70, 3, 150, 64, 1]
    ids = torch.randint(20, (5, 150), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(150) < torch.tensor(lengths)[:, None]
    packed = model(Batch.from_padded(ids, mask)).logits.split(lengths)
    for row, length in enumerate(lengths):
        alone = model(Batch.from_padded(ids[row : row + 1, :length])).logits
        assert relative(packed[row], alone) < 1e-5
        some = model(Batch.from_padded(ids[row : row + 1, : max(1, length // 2)])).logits
        assert relative(some, alone[: len(some)]) < 1e-5


@pytest.mark.parametrize("mixer", MIXERS, ids=str)
@torch.inference_mode()
def test_pieces_of_any_size_equal_the_whole(mixer: str | tuple[str, ...]) -> None:
    """Prompts shorter than the taps, pieces, single steps, joined and left sequences."""
    model = _model(mixer)
    cache, texts = model.new_cache(), {}
    generator = torch.Generator().manual_seed(2)

    def grow(pieces: dict[int, int]) -> None:
        new = {name: torch.randint(20, (n,), generator=generator).tolist() for name, n in pieces.items()}
        found = model(cache.batch(list(new), list(new.values())), cache=cache).logits
        for (name, piece), logits in zip(new.items(), found.split(list(pieces.values())), strict=True):
            texts[name] = texts.get(name, []) + piece
            whole = model(Batch.from_padded(torch.tensor([texts[name]]))).logits
            assert relative(logits, whole[-len(piece) :]) < 2e-5, (name, len(texts[name]))

    grow({0: 1, 1: 2, 2: 65, 3: 130})
    for _ in range(5):
        grow(dict.fromkeys(cache.sequences, 1))
    grow({0: 40, 3: 1, 2: 64})
    cache.drop([1])
    grow({9: 3, 0: 2})
    for _ in range(3):
        grow(dict.fromkeys(cache.sequences, 1))


@pytest.mark.parametrize("mixer", MIXERS, ids=str)
def test_gradients_agree_with_those_of_single_documents(mixer: str | tuple[str, ...]) -> None:
    model = _model(mixer)
    ids = torch.randint(20, (2, 80), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(80) < torch.tensor([80, 30])[:, None]

    def gradients(batches: list[Batch]) -> dict[str, Tensor]:
        model.zero_grad()
        for batch in batches:
            logits = model(batch).logits
            torch.nn.functional.cross_entropy(logits, batch.ids, reduction="sum").backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    packed = gradients([Batch.from_padded(ids, mask)])
    single = gradients([Batch.from_padded(ids[:1]), Batch.from_padded(ids[1:, :30])])
    assert packed.keys() == single.keys()
    assert len(packed) == len(list(model.parameters()))
    assert max(relative(packed[name], single[name]) for name in packed) < 1e-4


@torch.inference_mode()
def test_memory_of_convolutions_does_not_grow() -> None:
    model = _model(("hyena_short", "hyena_medium", "hyena_long"))
    cache, sizes = model.new_cache(), []
    for _ in range(4):
        model(cache.batch([0], [[1] * 70]), logits=False, cache=cache)
        sizes.append(cache.nbytes)
    assert len(set(sizes)) == 1


@torch.inference_mode()
def test_bfloat16_runs_and_filters_in_float32() -> None:
    model = _model(("hyena_short", "hyena_medium", "hyena_long"))
    half = _model(("hyena_short", "hyena_medium", "hyena_long")).bfloat16()
    batch = Batch.from_padded(torch.randint(20, (1, 90), generator=torch.Generator().manual_seed(0)))
    found = half(batch).logits
    assert found.dtype == torch.bfloat16
    assert relative(found.float(), model(batch).logits) < 0.1
    cache, ids = half.new_cache(), batch.ids.tolist()
    pieces = [half(cache.batch([0], [ids[a:b]]), cache=cache).logits for a, b in ((0, 80), (80, 90))]
    assert relative(torch.cat(pieces).float(), found.float()) < 0.1


def test_generation_from_a_prompt_of_one_token() -> None:
    model = _model(MIXERS[-1])
    (result,) = generate(model, [[3]], SamplingOptions(max_tokens=12))
    ids = [3, *result.ids]
    for place in range(1, len(ids)):
        logits = model(Batch.from_padded(torch.tensor([ids[:place]]))).logits
        assert int(logits[-1].argmax()) == ids[place]


@pytest.mark.parametrize(
    ("mixer", "options", "message"),
    [
        ("hyena_short", {"groups": 3}, "groups .* must divide d_model"),
        ("hyena_short", {"taps": 0}, "taps of a hyena mixer"),
        ("hyena_long", {"split": "columns"}, "interleaved or heads"),
        ("hyena_long", {"groups": 2}, "no option 'groups'"),
        ("hyena_implicit", {"place_width": 4}, "must be odd"),
        ("attention_stored_rope", {"factor": 0}, "above 0"),
    ],
)
def test_impossible_options_are_refused(mixer: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _model(mixer, mixer_options={mixer: options})


def test_a_document_longer_than_the_implicit_filter_is_refused() -> None:
    model = _model("hyena_implicit", max_length=10)
    with pytest.raises(InputError, match="more than 10 tokens"):
        model(Batch.from_padded(torch.ones(1, 11, dtype=torch.long)))


def test_rmsnorm_adds_epsilon_outside_the_root() -> None:
    x = torch.tensor([[3e-3, 4e-3]])
    fields = {"vocab_size": 2, "d_model": 2, "n_layers": 1, "n_heads": 1, "d_ff": 2, "norm": "rmsnorm"}
    from biolm.core.norm import make_norm

    norm = make_norm(CoreConfig(**fields, norm_eps=1e-3, norm_eps_outside=True))
    root = (12.5e-6) ** 0.5
    assert torch.allclose(norm(x), x / (root + 1e-3))


@pytest.mark.parametrize("mixer", ["hyena_long", "hyena_modal"])
def test_kept_tables_follow_the_weights(mixer: str) -> None:
    model = _model(mixer)
    batch = Batch.from_padded(torch.randint(20, (1, 150), generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        first = model(batch).logits
        assert torch.equal(model(batch).logits, first)
    trained = model(batch).logits
    assert trained.requires_grad
    assert relative(trained.detach(), first) < 1e-6
    weights = {n: t * 1.1 if "residues" in n else t for n, t in model.state_dict().items()}
    model.load_state_dict(weights)
    with torch.inference_mode():
        assert relative(model(batch).logits, first) > 1e-3
        assert relative(model(batch).logits, model.requires_grad_(False)(batch).logits) < 1e-6
