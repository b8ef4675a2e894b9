"""Continuous tokens in numpy, a row at a time; the compiled kernel explains them.

Dimensions: ``n`` cells · ``g`` gene columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.draws import draw, seeds_of
from biolm.adapters.cells.kernels.rows_plain import Rows, expressed, first_by_key, scan_rows

__all__ = ["continuous_rows"]


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
    totals = rows[3]
    ids, values, lengths = out
    lengths[:] = 0
    if fresh and not scan_rows(*rows):
        return -1
    at = 0
    for row in np.flatnonzero(np.isfinite(totals)).tolist():
        value, gene = expressed(rows, row, tokens)
        if len(gene) > limit:
            key = draw(seeds_of(cells[row])[::-1], gene).astype(np.int64) if sample else value
            kept = first_by_key(key, gene, limit)
            value, gene = value[kept], gene[kept]
        start = at
        if first >= 0:
            ids[at], values[at] = first, 0.0
            at += 1
        total, factor = (totals[row] or 1.0, target) if target > 0 else (1.0, 1.0)
        ids[at : at + len(gene)], values[at : at + len(gene)] = gene, value / total * factor
        at += len(gene)
        lengths[row] = at - start
    return at
