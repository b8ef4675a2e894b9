"""Rank tokens in numpy, a row at a time; the compiled kernel explains them.

Dimensions: ``n`` cells · ``g`` gene columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.rows_plain import Rows, scan_rows

__all__ = ["rank_rows"]


def rank_rows(
    rows: Rows,
    fresh: bool,
    tokens: NDArray[np.int32],
    scales: NDArray[np.float64],
    limit: int,
    ends: tuple[int, int],
    out: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]],
) -> int:
    """Tokens of each row by falling ``x / total * scale``, ties by token id.

    Parameters
    ----------
    rows, fresh
        As of :func:`~biolm.adapters.cells.kernels.bins_numba.bin_rows`.
    tokens, scales
        ``(g,)`` token id and factor of a column, -1 and 0 for none.
    limit
        Most genes of a cell.
    ends
        Tokens put before and after, -1 for none.
    out
        Tokens, values and offsets, written.
    """
    data, indices, indptr, totals = rows
    ids, values, lengths = out
    lengths[:] = 0
    if fresh and not scan_rows(data, indices, indptr, totals):
        return -1
    head, tail = [end for end in ends[:1] if end >= 0], [end for end in ends[1:] if end >= 0]
    at = 0
    for row in np.flatnonzero(np.isfinite(totals)).tolist():
        span = slice(indptr[row], indptr[row + 1])
        share = data[span] / (totals[row] or 1.0)
        value = share * scales[indices[span]]
        use = value > 0
        share, value, gene = share[use], value[use], tokens[indices[span][use]]
        order = np.lexsort((gene, -value))[:limit]
        length = len(head) + len(order) + len(tail)
        ids[at : at + length] = np.concatenate([head, gene[order], tail])
        if len(values):
            values[at + len(head) : at + len(head) + len(order)] = share[order] * 1e4
        lengths[row] = length
        at += length
    return at
