"""Value bins in numpy, a row at a time; the compiled kernel explains them.

Dimensions: ``n`` cells · ``g`` gene columns · ``e`` edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.draws import draw, seeds_of
from biolm.adapters.cells.kernels.rows_plain import Rows, expressed, first_by_key, scan_rows

__all__ = ["bin_rows"]


def _legal_bins(
    value: NDArray[np.float64], quantiles: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Highest bin and number of legal bins of each value of a row."""
    ordered = np.sort(value)
    last = len(value) - 1
    virtual = last * quantiles
    below = np.minimum(virtual.astype(np.int64), last)
    low, high = ordered[below], ordered[np.minimum(below + 1, last)]
    part, step = virtual - below, high - low
    edges = np.where(part >= 0.5, high - step * (1 - part), low + step * part)
    highest = np.searchsorted(edges, value, side="right")
    return highest, highest - np.searchsorted(edges, value, side="left")


def bin_rows(
    rows: Rows,
    fresh: bool,
    tokens: NDArray[np.int32],
    quantiles: NDArray[np.float64],
    cells: NDArray[np.uint64],
    forced: int,
    limit: int,
    first: tuple[int, int],
    out: tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int64]],
) -> int:
    """Token and value bin of each expressed gene, in column order.

    Parameters
    ----------
    rows, fresh
        Canonical rows and whether they come as :func:`check_row` wants them; see :mod:`rows_numba`.
    tokens
        ``(g,)`` token id of a column, -1 for none.
    quantiles
        ``(e,)`` places of the edges among the values of a cell.
    cells
        ``(n,)`` random key of each cell.
    forced
        32 bits in place of the draw between legal bins, -1 to draw.
    limit
        Most genes of a cell.
    first
        Token and value put before, token -1 for none.
    out
        Tokens, bins and offsets, written.
    """
    ids, bins, lengths = out
    lengths[:] = 0
    if fresh and not scan_rows(*rows):
        return -1
    at = 0
    for row in np.flatnonzero(np.isfinite(rows[3])).tolist():
        value, gene = expressed(rows, row, tokens)
        seeds = seeds_of(cells[row])
        binned = np.empty(0, np.int64)
        if len(gene):
            highest, span = _legal_bins(value, quantiles)
            drawn = draw(seeds, gene).astype(np.int64) if forced < 0 else forced
            binned = highest - (drawn * span >> 32)
        if len(gene) > limit:
            kept = first_by_key(draw(seeds[::-1], gene).astype(np.int64), gene, limit)
            gene, binned = gene[kept], binned[kept]
        start = at
        if first[0] >= 0:
            ids[at], bins[at] = first
            at += 1
        ids[at : at + len(gene)], bins[at : at + len(gene)] = gene, binned
        at += len(gene)
        lengths[row] = at - start
    return at
