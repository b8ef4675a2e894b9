"""Checks of rows, merging of columns and gathering of a row in numpy; as the compiled kernels do it.

Dimensions: ``n`` cells · ``g`` gene columns · ``nnz`` stored values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "expressed", "first_by_key", "merge_rows", "scan_rows"]

Rows = tuple[NDArray[Any], NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64]]
"""Values, columns, row pointers and row totals; the compiled kernels say what they must be."""


def scan_rows(
    data: NDArray[Any], indices: NDArray[np.uint32], indptr: NDArray[np.int64], totals: NDArray[np.float64]
) -> bool:
    """Sum each row into ``totals (n,)``, NaN where a value is negative or not a number.

    Returns whether the columns of every row ascend.

    Parameters
    ----------
    data, indices, indptr
        Rows as the file holds them.
    totals
        ``(n,)`` sums, written.
    """
    cells = len(indptr) - 1
    row = np.repeat(np.arange(cells), np.diff(indptr))
    place = np.arange(len(data)) - indptr[row]
    # bincount adds in the order of storage, so each lane is a partial sum of the compiled twin.
    lane = np.where(place < np.diff(indptr)[row] // 8 * 8, place % 8, 0)
    a, b, c, d, e, f, g, h = np.bincount(lane * cells + row, weights=data, minlength=8 * cells).reshape(8, -1)
    with np.errstate(invalid="ignore", over="ignore"):  # such rows are refused by their totals
        totals[:] = ((a + b) + (c + d)) + ((e + f) + (g + h))
    totals[row[~(data >= 0)]] = np.nan
    same_row = row[1:] == row[:-1]
    return bool((indices[1:] > indices[:-1])[same_row].all())


def merge_rows(
    data: NDArray[Any],
    indices: NDArray[np.uint32],
    indptr: NDArray[np.int64],
    first: NDArray[np.int32],
    merged: NDArray[np.float64],
    columns: NDArray[np.uint32],
    offsets: NDArray[np.int64],
) -> int:
    """Add up the columns of a row that share a gene, at the place of the first that is not zero.

    Parameters
    ----------
    data, indices, indptr, first, merged, columns, offsets
        As of :func:`~biolm.adapters.cells.kernels.rows_numba.merge_rows`.
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


def expressed(
    rows: Rows, row: int, tokens: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Values and tokens of a row's expressed genes that have a token.

    Parameters
    ----------
    rows
        Rows and their totals.
    row
        Which one.
    tokens
        ``(g,)`` token id of a column, -1 for none.
    """
    data, indices, indptr, _ = rows
    span = slice(indptr[row], indptr[row + 1])
    gene = tokens[indices[span]]
    use = (data[span] > 0) & (gene >= 0)
    return data[span][use].astype(np.float64), gene[use]


def first_by_key(key: NDArray[Any], gene: NDArray[np.int32], limit: int) -> NDArray[np.intp]:
    """Places, ascending, of the ``limit`` first elements by (-key, gene).

    Parameters
    ----------
    key, gene
        Key and token id of each element.
    limit
        How many are kept.
    """
    return np.sort(np.lexsort((gene, -key))[:limit])
