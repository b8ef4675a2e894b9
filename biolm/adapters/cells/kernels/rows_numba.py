"""Compiled kernels that check rows and merge columns; twins in :mod:`rows_numpy` give the same bytes.

Dimensions: ``n`` cells · ``g`` gene columns · ``nnz`` stored values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled

__all__ = ["merge_rows", "scan_rows"]


@compiled
def scan_rows(
    data: NDArray[Any], indices: NDArray[np.int32], indptr: NDArray[np.int64], totals: NDArray[np.float64]
) -> bool:
    """Sum each row into ``totals (n,)``, NaN where a value is negative or not a number.

    Returns whether the columns of every row ascend. Four partial sums break the chain of dependent
    additions; both twins add them in the same order.
    """
    ascending = True
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        fine = True
        a = b = c = d = 0.0
        place = start
        while place + 3 < stop:
            a += data[place]
            b += data[place + 1]
            c += data[place + 2]
            d += data[place + 3]
            place += 4
        if place < stop:
            a += data[place]
        if place + 1 < stop:
            b += data[place + 1]
        if place + 2 < stop:
            c += data[place + 2]
        for place in range(start, stop):
            fine &= data[place] >= 0
        for place in range(start + 1, stop):
            ascending &= indices[place] > indices[place - 1]
        totals[row] = (a + b) + (c + d) if fine else np.nan
    return ascending


@compiled
def merge_rows(
    data: NDArray[Any],
    indices: NDArray[np.int32],
    indptr: NDArray[np.int64],
    first: NDArray[np.int32],
    merged: NDArray[np.float64],
    columns: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> int:
    """Add up the columns of a row that share a gene, at the place of the first that is not zero.

    ``first (g,)`` is the column that stands for a column's gene, -1 to leave it out.
    """
    slot = np.full(len(first), -1, np.int64)
    at = 0
    for row in range(len(indptr) - 1):
        start = at
        for place in range(indptr[row], indptr[row + 1]):
            column = first[indices[place]]
            if column < 0 or data[place] == 0:
                continue
            if slot[column] < start:
                slot[column] = at
                columns[at] = column
                merged[at] = 0.0
                at += 1
            merged[slot[column]] += data[place]
        offsets[row + 1] = at
    return at
