"""Spans of zarr arrays: chunks are decoded once, and any span is right."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm.io.cells.readers.zarr_store import Aligned

SIZE, CHUNK = 503, 50


class Counted:
    """An array with zarr's face that counts the chunks decoded."""

    chunks, shape, dtype = (CHUNK,), (SIZE,), np.dtype("i4")

    def __init__(self) -> None:
        self.decoded = 0

    def __getitem__(self, span: slice) -> np.ndarray[Any, Any]:
        self.decoded += -(-span.stop // CHUNK) - span.start // CHUNK
        return np.arange(SIZE, dtype="i4")[span]


@given(cuts=st.lists(st.integers(0, SIZE), min_size=2, max_size=12))
def test_any_order_of_spans(cuts: list[int]) -> None:
    column = Aligned(Counted())
    for first, second in pairwise(cuts):
        start, stop = min(first, second), max(first, second)
        np.testing.assert_array_equal(column.read(start, stop), np.arange(start, stop))


def test_small_blocks_decode_each_chunk_once() -> None:
    array = Counted()
    column = Aligned(array)
    for start in range(0, SIZE, 7):
        column.read(start, min(start + 7, SIZE))
    assert array.decoded == -(-SIZE // CHUNK)


def test_wide_blocks_decode_at_most_one_chunk_twice() -> None:
    array = Counted()
    column = Aligned(array)
    for start in range(0, SIZE, 230):
        column.read(start, min(start + 230, SIZE))
    assert array.decoded <= -(-SIZE // CHUNK) + 2
