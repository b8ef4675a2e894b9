"""The cache against a forward pass without one, whatever comes in whatever pieces; and its memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from perturb import perturb, relative

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.errors import ConfigError, InputError

SIZES = {"vocab_size": 30, "d_model": 16, "n_layers": 3, "n_heads": 4, "d_ff": 24, "max_length": 400}
VARIANTS: dict[str, dict[str, Any]] = {
    "learned": {},
    "grouped": {"position": "rope", "n_kv_heads": 2, "qk_norm": "head"},
    "one key-value head": {"position": "rope", "n_kv_heads": 1},
    "window": {"position": "rope", "window": 5},
    "some windows": {"position": "rope", "window": 7, "windowed_layers": (0, 2), "rope_theta_local": 50.0},
    "soft-cap": {"position": "rope", "attn_softcap": 2.0, "window": 6, "n_kv_heads": 2, "block": "sandwich"},
    "alibi": {"position": "alibi", "n_kv_heads": 2},
    "alibi window": {"position": "alibi", "window": 5},
    "t5": {"position": "t5", "t5_buckets": 8, "t5_max_distance": 20},
    "t5 window soft-cap": {"position": "t5", "t5_buckets": 8, "window": 6, "attn_softcap": 3.0},
    "parallel shared": {"position": "rope", "block": "parallel", "share_layers": True},
}


def _model(**changes: Any) -> Transformer:
    torch.manual_seed(0)
    model = perturb(Transformer(CoreConfig(**{**SIZES, **changes}, causal=True, head="linear"))).eval()
    assert isinstance(model, Transformer)
    return model


def _whole(model: Transformer, ids: list[int]) -> torch.Tensor:
    return model(Batch.from_padded(torch.tensor([ids]))).logits


class Schedule:
    """Sequences that come, grow by pieces and go; what the cache gives is compared at every step."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.cache = model, model.new_cache()
        self.texts: dict[int, list[int]] = {}
        self.generator = torch.Generator().manual_seed(3)

    def grow(self, pieces: dict[int, int]) -> None:
        """Read that many more tokens of some sequences."""
        new = {
            name: torch.randint(30, (count,), generator=self.generator).tolist()
            for name, count in pieces.items()
        }
        batch = self.cache.batch(list(new), list(new.values()))
        found = self.model(batch, cache=self.cache).logits.split(list(pieces.values()))
        for (name, piece), logits in zip(new.items(), found, strict=True):
            self.texts[name] = self.texts.get(name, []) + piece
            wanted = _whole(self.model, self.texts[name])[-len(piece) :]
            assert relative(logits, wanted) < 2e-5, (name, len(self.texts[name]))

    def drop(self, names: list[int]) -> None:
        self.cache.drop(names)
        for name in names:
            del self.texts[name]


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_every_step_equals_the_pass_without_cache(name: str) -> None:
    run = Schedule(_model(**VARIANTS[name]))
    run.grow({0: 3, 1: 60, 2: 1, 3: 17})
    for _ in range(8):  # sequence 1 leaves its slab here
        run.grow(dict.fromkeys(run.cache.sequences, 1))
    run.grow({3: 9, 0: 2})
    run.drop([0, 2])
    run.grow({7: 4})
    for _ in range(3):
        run.grow(dict.fromkeys(run.cache.sequences, 1))
    run.grow({1: 1, 7: 1})  # some of them, in another order
    run.drop([1, 3, 7])
    assert run.cache.nbytes == 0


@given(
    st.sampled_from(["learned", "some windows", "soft-cap", "alibi window"]),
    st.lists(
        st.one_of(
            st.dictionaries(st.integers(0, 3), st.integers(1, 40), min_size=1),
            st.just("step"),
            st.integers(0, 3),
        ),
        max_size=7,
    ),
)
@torch.inference_mode()
def test_any_schedule_equals_the_pass_without_cache(name: str, events: list[Any]) -> None:
    run = Schedule(_model(**VARIANTS[name]))
    for event in events:
        if isinstance(event, dict):
            run.grow(event)
        elif event == "step" and run.texts:
            run.grow(dict.fromkeys(run.cache.sequences, 1))
        elif event in run.texts:
            run.drop([event])
    assert run.cache.lengths == {name: len(text) for name, text in run.texts.items()}


@torch.inference_mode()
@pytest.mark.parametrize("name", ["grouped", "soft-cap", "t5"])
def test_half_precision_runs_too(name: str) -> None:
    model = _model(**VARIANTS[name])
    half = _model(**VARIANTS[name]).bfloat16()
    caches = [model.new_cache(), half.new_cache()]
    for pieces in ([[1, 2, 3], [4], [5] * 70], [[7], [8], [9]]):
        wide, narrow = (
            each(cache.batch(cache.sequences or [0, 1, 2], pieces), cache=cache).logits
            for each, cache in zip((model, half), caches, strict=True)
        )
        assert narrow.dtype == torch.bfloat16
        assert relative(narrow.float(), wide) < 0.1
    assert caches[1].nbytes * 2 == caches[0].nbytes


@torch.inference_mode()
def test_windowed_layers_take_constant_memory() -> None:
    model = _model(position="rope", window=16)
    cache, sizes = model.new_cache(), []
    for _ in range(12):
        model(cache.batch([0], [[1] * 30]), logits=False, cache=cache)
        sizes.append(cache.nbytes)
    # Keys and values of 3 layers, 16 slots of 16 numbers.
    assert sizes == [2 * 3 * 16 * 16 * 4] * 12


@torch.inference_mode()
def test_a_short_sequence_does_not_pay_for_a_long_one() -> None:
    model = _model(position="rope")
    cache = model.new_cache()
    token = 2 * 3 * 16 * 4
    model(cache.batch([0, *range(1, 20)], [[1] * 380, *[[1]] * 19]), logits=False, cache=cache)
    # One row of 512 slots; 19 of 64, with at most half as many to spare.
    assert cache.nbytes <= token * (512 + 64 * 19 * 3 // 2)
    cache.drop([0])
    assert cache.nbytes <= token * 64 * 19 * 3 // 2


@torch.inference_mode()
def test_nothing_is_copied_at_a_step() -> None:
    model = _model(position="rope")
    cache = model.new_cache()
    model(cache.batch([0, 1], [[1] * 5, [1] * 9]), logits=False, cache=cache)
    places = [tensor.data_ptr() for slab in cache._slabs.values() for pair in slab.held for tensor in pair]
    for _ in range(20):
        model(cache.batch(cache.sequences, [[1], [2]]), cache=cache)
    after = [tensor.data_ptr() for slab in cache._slabs.values() for pair in slab.held for tensor in pair]
    assert places == after


def test_gradients_do_not_pile_up() -> None:
    model = _model()
    cache = model.new_cache()
    for _ in range(3):
        output = model(cache.batch([0], [[1, 2]]), cache=cache)
    assert output.logits.requires_grad
    assert not any(t.requires_grad for slab in cache._slabs.values() for pair in slab.held for t in pair)


def test_wrong_use_is_named() -> None:
    with pytest.raises(ConfigError, match="causal"):
        Transformer(CoreConfig(**SIZES)).new_cache()
    model = _model()
    cache = model.new_cache()
    for names, pieces in (([0], [[]]), ([], [])):
        with pytest.raises(InputError, match="empty"):
            cache.batch(names, pieces)
    with pytest.raises(InputError, match="named once"):
        cache.batch([0, 0], [[1], [2]])
    with pytest.raises(InputError, match="no sequence 5"):
        cache.drop([5])
    batch = cache.batch([0], [[1]])
    model(batch, cache=cache)
    with pytest.raises(InputError, match="just made"):
        model(batch, cache=cache)
    with pytest.raises(ConfigError, match="without a cache"):
        model(cache.batch([0], [[1]]), cache=cache, attentions=True)
