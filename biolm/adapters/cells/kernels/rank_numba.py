"""The compiled kernel of rank tokens; its twin in plain numpy gives the same bytes.

Dimensions: ``n`` cells · ``g`` gene columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled
from biolm.adapters.cells.kernels.rows_numba import Rows, check_row, unsigned, widest
from biolm.adapters.cells.kernels.sort_numba import RADIX, order

__all__ = ["rank_rows"]


@compiled
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

    ``tokens``, ``scales (g,)``: token id and factor of a column, -1 and 0 for none. ``ends``: tokens put
    before and after, -1 for none. Values are ``x / total * 10,000``; their array comes as zeros, or empty if
    they are not wanted.

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
    room = widest(indptr)
    value, gene = np.empty(room, np.float64), np.empty(room, np.int32)
    window, items, spare = unsigned(room), unsigned(room), unsigned(room)
    low, high = unsigned(RADIX), unsigned(RADIX)
    # The bits of floats from 0 up, read as integers, have the order of the floats.
    key = value.view(np.int64)
    at, ascending = 0, True
    for row in range(len(lengths)):
        x, columns = data[indptr[row] : indptr[row + 1]], indices[indptr[row] : indptr[row + 1]]
        if fresh:
            totals[row], ordered = check_row(x, columns)
            ascending &= ordered
        start, total, lengths[row] = at, totals[row], 0
        if not total < np.inf:
            continue
        for place in range(len(x)):
            # Adding 0 turns -0, whose bits are no key, into 0.
            value[place] = x[place] / total * scales[columns[place]] + 0.0
        for place in range(len(x)):
            gene[place] = tokens[columns[place]]
        count = 0
        for place in range(len(x)):
            count += value[place] > 0
        needed = min(count, limit)
        if needed > 0:
            order(key, gene, needed, window, items[: len(x)], spare, low, high)
        if ends[0] >= 0:
            ids[at] = ends[0]
            at += 1
        for rank in range(needed):
            ids[at + rank] = gene[items[rank]]
        if len(values) > 0:
            for rank in range(needed):
                values[at + rank] = x[items[rank]] / total * 1e4
        at += needed
        if ends[1] >= 0:
            ids[at] = ends[1]
            at += 1
        lengths[row] = at - start
    return at if ascending else -1
