"""Compiled kernels that check rows, merge columns and gather a row.

Dimensions: ``n`` cells · ``g`` gene columns · ``nnz`` stored values.

Every machine gives the same bytes, and so do the twins in numpy. So nothing in these modules may
depend on the order of additions, on fused multiply-adds or on a library's functions: each formula is spelled
out, and the twins follow the spelling.
Loops are kept short and plain, one array written each, because those are the ones that become vector code.
Columns and places are unsigned: a signed index would be tested for counting from the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled

__all__ = ["Rows", "check_row", "expressed", "merge_rows", "scan_rows", "unsigned", "widest"]

Rows = tuple[NDArray[Any], NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64]]
"""Values, columns, row pointers and row totals.

Kernels of tokens take canonical rows: columns ascending and apart, no value negative or infinite. If told
that rows are ``fresh``, they write the totals themselves, skip a row that holds a bad value (its total is
then not finite), and return -1 if the columns of a row do not ascend.
"""


@compiled
def check_row(x: NDArray[Any], columns: NDArray[np.uint32]) -> tuple[float, bool]:
    """Sum of a row, NaN where a value is negative or not a number; and whether its columns ascend.

    Eight partial sums let additions overlap; kernel and twin add the same values to the same sum.

    Parameters
    ----------
    x
        Values of a row.
    columns
        Their columns.
    """
    a = b = c = d = e = f = g = h = 0.0
    whole = len(x) // 8 * 8
    for place in range(0, whole, 8):
        a += x[place]
        b += x[place + 1]
        c += x[place + 2]
        d += x[place + 3]
        e += x[place + 4]
        f += x[place + 5]
        g += x[place + 6]
        h += x[place + 7]
    for place in range(whole, len(x)):
        a += x[place]
    wrong = behind = 0
    for place in range(len(x)):
        wrong += not x[place] >= 0
    for place in range(len(x) - 1):
        behind += columns[place + 1] <= columns[place]
    return np.nan if wrong else ((a + b) + (c + d)) + ((e + f) + (g + h)), behind == 0


@compiled
def scan_rows(
    data: NDArray[Any], indices: NDArray[np.uint32], indptr: NDArray[np.int64], totals: NDArray[np.float64]
) -> bool:
    """Write :func:`check_row`'s sums to ``totals (n,)``; tells whether the columns of every row ascend.

    Parameters
    ----------
    data, indices, indptr
        Rows as the file holds them.
    totals
        ``(n,)`` sums, written.
    """
    ascending = True
    for row in range(len(indptr) - 1):
        span = slice(indptr[row], indptr[row + 1])
        totals[row], ordered = check_row(data[span], indices[span])
        ascending &= ordered
    return ascending


@compiled
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
    data, indices, indptr
        Rows as the file holds them.
    first
        ``(g,)`` column that stands for a column's gene, -1 to leave it out.
    merged, columns, offsets
        Values, columns and row pointers of the result, written.
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


@compiled
def widest(indptr: NDArray[np.int64]) -> int:
    """Stored values of the fullest row."""
    most = 1
    for row in range(len(indptr) - 1):
        most = max(most, indptr[row + 1] - indptr[row])
    return most


@compiled
def unsigned(length: int) -> NDArray[np.uint32]:
    """Working space for places, columns or counters."""
    return np.empty(length, np.uint32)


@compiled
def expressed(
    data: NDArray[Any],
    columns: NDArray[np.uint32],
    tokens: NDArray[np.int32],
    value: NDArray[np.float64],
    gene: NDArray[np.int32],
) -> int:
    """Close up a row to the expressed genes that have a token; returns how many they are.

    Parameters
    ----------
    data, columns
        Values and columns of a row.
    tokens
        ``(g,)`` token id of a column, -1 for none.
    value, gene
        Values and token ids, written.
    """
    count = 0
    for place in range(len(data)):
        token = tokens[columns[place]]
        value[count], gene[count] = data[place], token
        count += (data[place] > 0) & (token >= 0)
    return count
