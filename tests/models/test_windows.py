"""Windows over long sequences: they cover everything, and merge without a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biolm.batch import Tokens
from biolm.errors import ConfigError
from biolm.models.windows import Merger, cut_windows, window_starts


@given(length=st.integers(1, 500), width=st.integers(2, 60), share=st.floats(0, 0.5))
def test_windows_cover_all_and_neighbours_overlap(length, width, share):
    overlap = int(share * width)
    starts = window_starts(length, width, overlap)
    ends = np.minimum(starts + width, length)
    assert starts[0] == 0
    assert ends[-1] == length
    assert (ends[:-1] - starts[1:] >= overlap).all()
    assert (np.diff(starts) > 0).all()


@given(length=st.integers(1, 200), width=st.integers(4, 40), seed=st.integers(0, 5))
def test_states_that_agree_are_kept_and_those_that_do_not_are_weighed(length, width, seed):
    """The merged state is the mean of a token's states by distance to the nearer inner border."""
    starts = window_starts(length, width, width // 4)
    generator = torch.Generator().manual_seed(seed)
    windows = [torch.randn(min(width, length), 2, generator=generator) for _ in starts]
    merger = Merger(length)
    parts = [merger.add(int(start), states) for start, states in zip(starts, windows, strict=True)]
    found = torch.cat(parts)
    assert len(found) == length
    total, mass = torch.zeros(length, 2, dtype=torch.float64), torch.zeros(length, 1, dtype=torch.float64)
    for start, states in zip(starts.tolist(), windows, strict=True):
        for place in range(len(states)):
            left = place + 1 if start else length
            right = len(states) - place if start + len(states) < length else length
            weight = min(left, right)
            total[start + place] += weight * states[place].double()
            mass[start + place] += weight
    torch.testing.assert_close(found.double(), total / mass, rtol=1e-5, atol=1e-6)


def test_the_weights_have_no_step():
    """Between two windows of 0 and 1, merged states climb by equal steps."""
    merger = Merger(12)
    parts = [merger.add(0, torch.zeros(8, 1)), merger.add(4, torch.ones(8, 1))]
    values = torch.cat(parts).flatten()
    torch.testing.assert_close(values[3:9].diff(), torch.full((5,), 0.2))


def test_special_tokens_stand_round_every_window():
    ids = np.array([0, *range(10, 20), 2, 0, 30, 2], np.int32)
    tokens = Tokens(ids=ids, offsets=np.array([0, 12, 15]), index=np.array([5, 6]))
    windows = cut_windows(tokens, np.array([0]), (1, 1), 6, 1)
    assert [windows.tokens[i].ids.tolist() for i in range(len(windows))] == [
        [0, 10, 11, 12, 13, 2],
        [0, 13, 14, 15, 16, 2],
        [0, 16, 17, 18, 19, 2],
    ]
    assert windows.starts.tolist() == [0, 3, 6]
    with pytest.raises(ConfigError, match="windows of 6 tokens can overlap by at most 2, not 3"):
        cut_windows(tokens, np.array([0]), (1, 1), 6, 3)
