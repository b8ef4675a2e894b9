"""The counter hash: known bits, uniformity, independence of its arguments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biolm.objectives.draws import example_seeds, hash_bits, uniform

MASK = (1 << 64) - 1


def splitmix(state: int, counter: int) -> int:
    """SplitMix64 in Python's own integers."""
    x = (state + (counter + 1) * 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_published_sequence() -> None:
    # First outputs of SplitMix64 for seed 1234567, as given with its reference implementation.
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    found = hash_bits(torch.tensor(1234567), torch.arange(3)).tolist()
    assert [value & MASK for value in found] == wanted


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**62))
def test_bits_equal_plain_integers(state: int, counter: int) -> None:
    found = hash_bits(torch.tensor([state]), torch.tensor([counter]))
    assert int(found) & MASK == splitmix(state & MASK, counter)


def test_uniform_and_independent() -> None:
    seeds = example_seeds(torch.arange(500), epoch=1, seed=2)
    numbers = uniform(seeds[:, None], torch.arange(400)).numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, bins=50, range=(0, 1))[0]
    assert ((counts - 4000) ** 2 / 4000).sum() == pytest.approx(49, abs=40)
    for _axis in (0, 1):
        near = np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]
        assert abs(near) < 0.01
        numbers = numbers.T
    other = uniform(example_seeds(torch.arange(500), epoch=1, seed=2, stream=1)[:, None], torch.arange(400))
    assert abs(np.corrcoef(numbers.ravel(), other.numpy().ravel())[0, 1]) < 0.01


@given(st.tuples(*[st.integers(0, 1000)] * 4), st.integers(0, 3))
def test_every_argument_matters(arguments: tuple[int, int, int, int], which: int) -> None:
    changed = list(arguments)
    changed[which] += 1
    first, second = (
        int(example_seeds(torch.tensor([key]), epoch, seed, stream))
        for key, epoch, seed, stream in (arguments, changed)
    )
    assert first != second
