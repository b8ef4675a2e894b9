"""The compiled kernel of continuous tokens; its twin in plain numpy gives the same bytes.

Dimensions: ``n`` cells · ``g`` gene columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled
from biolm.adapters.cells.kernels.draw_numba import draw
from biolm.adapters.cells.kernels.rows_numba import Rows, check_row, expressed, unsigned, widest
from biolm.adapters.cells.kernels.sort_numba import RADIX, close_up, keep_largest

__all__ = ["continuous_rows"]


@compiled
def continuous_rows(
    rows: Rows,
    fresh: bool,
    tokens: NDArray[np.int32],
    target: float,
    cells: NDArray[np.uint64],
    limit: int,
    sample: bool,
    first: int,
    out: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]],
) -> int:
    """Token and normalised value of each expressed gene, in column order.

    The values of a cell add up to ``target``; 0 leaves them as they are. Rows longer than ``limit`` keep
    their largest values, or genes drawn by ``cells`` if ``sample``.

    Parameters
    ----------
    rows, fresh
        As of :func:`~biolm.adapters.cells.kernels.bins_numba.bin_rows`.
    tokens
        ``(g,)`` token id of a column, -1 for none.
    target
        Sum of a cell's values; 0 leaves them as they are.
    cells
        ``(n,)`` random key of each cell.
    limit
        Most genes of a cell.
    sample
        Whether the genes of longer rows are drawn rather than the largest.
    first
        Token put before, -1 for none.
    out
        Tokens, values and offsets, written.
    """
    data, indices, indptr, totals = rows
    ids, values, lengths = out
    room = widest(indptr)
    value, gene = np.empty(room, np.float64), np.empty(room, np.int32)
    key, work = value.view(np.int64), np.empty(room, np.int64)
    places, drawn, counts = unsigned(room), unsigned(room), unsigned(RADIX)
    kept = np.empty(room, np.bool_)
    at, ascending = 0, True
    for row in range(len(lengths)):
        start, span = at, slice(indptr[row], indptr[row + 1])
        if fresh:
            totals[row], ordered = check_row(data[span], indices[span])
            ascending &= ordered
        lengths[row] = 0
        if not totals[row] < np.inf:
            continue
        count = expressed(data[span], indices[span], tokens, value, gene)
        if count > limit:
            work[:count] = key[:count]
            if sample:
                draw((np.uint32(cells[row] >> np.uint64(32)), np.uint32(cells[row])), gene[:count], drawn)
                work[:count] = drawn[:count]
            keep_largest(work[:count], gene, limit, places, kept, counts)
            close_up(kept[:count], gene, value)
            count = limit
        if first >= 0:
            ids[at], values[at] = first, 0.0
            at += 1
        total, factor = (totals[row], target) if target > 0 else (1.0, 1.0)
        for place in range(count):
            values[at + place] = value[place] / total * factor
        ids[at : at + count] = gene[:count]
        at += count
        lengths[row] = at - start
    return at if ascending else -1
