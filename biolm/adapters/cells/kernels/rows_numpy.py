"""Checks of rows and merging of columns in numpy; twins of :mod:`rows_numba`.

Dimensions: ``n`` cells · ``g`` gene columns · ``nnz`` stored values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["merge_rows", "scan_rows"]


def scan_rows(
    data: NDArray[Any], indices: NDArray[np.int32], indptr: NDArray[np.int64], totals: NDArray[np.float64]
) -> bool:
    """Sum each row into ``totals (n,)``, NaN where a value is negative or not a number.

    Returns whether the columns of every row ascend.
    """
    cells = len(indptr) - 1
    row = np.repeat(np.arange(cells), np.diff(indptr))
    lane = (np.arange(len(data)) - indptr[row]) % 4
    # bincount adds in the order of storage, so each lane is the partial sum of the compiled twin.
    sums = np.bincount(row * 4 + lane, weights=data, minlength=4 * cells).reshape(cells, 4)
    totals[:] = (sums[:, 0] + sums[:, 1]) + (sums[:, 2] + sums[:, 3])
    totals[row[~(data >= 0)]] = np.nan
    same_row = row[1:] == row[:-1]
    return bool((np.diff(indices)[same_row] > 0).all())


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
    cells = len(indptr) - 1
    row = np.repeat(np.arange(cells), np.diff(indptr))
    use = (first[indices] >= 0) & (data != 0)
    pair = row[use] * len(first) + first[indices[use]]
    unique, place, inverse = np.unique(pair, return_index=True, return_inverse=True)
    order = np.argsort(place)
    at = len(unique)
    columns[:at] = (unique % max(len(first), 1))[order]
    merged[:at] = np.bincount(inverse, weights=data[use], minlength=at)[order]
    np.cumsum(np.bincount(row[use][place], minlength=cells), out=offsets[1:])
    return at
