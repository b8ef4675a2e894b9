"""Compiled passes over the columns of a sparse table, for eight classes at once; see :mod:`.sparse_logistic`.

Dimensions: ``n`` rows · ``m`` columns · ``nnz`` stored values · 8 classes.

A row's numbers of eight classes lie side by side and move through one vector register, so eight classes take
hardly longer than one. They are spelled out, since a loop over them would not become vector code.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["look", "sweep"]

_LONGEST = 10.0  # change of a weight in one update, as in liblinear


def _compiled(function: Any) -> Any:
    """Compiled at the first call, kept on disk where numba can write."""
    try:
        return numba.njit(function, cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
    except RuntimeError:  # no folder that numba may write
        return numba.njit(function, nogil=True, error_model="numpy", fastmath={"contract"})


@_compiled
def _column(data: Any, indices: Any, start: int, stop: int, rows: Any, total: Any) -> None:
    """Write ``total (8,)``: the product of one column with ``rows (n, 8)``."""
    a = b = c = d = e = f = g = h = np.float32(0)
    for place in range(np.uint64(start), np.uint64(stop)):
        value, row = data[place], indices[place]
        a += value * rows[row, 0]
        b += value * rows[row, 1]
        c += value * rows[row, 2]
        d += value * rows[row, 3]
        e += value * rows[row, 4]
        f += value * rows[row, 5]
        g += value * rows[row, 6]
        h += value * rows[row, 7]
    total[0], total[1], total[2], total[3] = a, b, c, d
    total[4], total[5], total[6], total[7] = e, f, g, h


@_compiled
def _spread(
    data: Any, indices: Any, start: int, stop: int, moves: Any, curves: Any, curved: Any, change: Any
) -> None:
    """Add to ``change (n, 8)`` and ``curved (n, 8)`` what moving one column's weights does to the rows."""
    a, b, c, d = moves[0], moves[1], moves[2], moves[3]
    e, f, g, h = moves[4], moves[5], moves[6], moves[7]
    for place in range(np.uint64(start), np.uint64(stop)):
        value, row = data[place], indices[place]
        a1 = value * a
        b1 = value * b
        c1 = value * c
        d1 = value * d
        e1 = value * e
        f1 = value * f
        g1 = value * g
        h1 = value * h
        a2 = a1 * curves[row, 0] + curved[row, 0]
        b2 = b1 * curves[row, 1] + curved[row, 1]
        c2 = c1 * curves[row, 2] + curved[row, 2]
        d2 = d1 * curves[row, 3] + curved[row, 3]
        e2 = e1 * curves[row, 4] + curved[row, 4]
        f2 = f1 * curves[row, 5] + curved[row, 5]
        g2 = g1 * curves[row, 6] + curved[row, 6]
        h2 = h1 * curves[row, 7] + curved[row, 7]
        a1 += change[row, 0]
        b1 += change[row, 1]
        c1 += change[row, 2]
        d1 += change[row, 3]
        e1 += change[row, 4]
        f1 += change[row, 5]
        g1 += change[row, 6]
        h1 += change[row, 7]
        curved[row, 0] = a2
        curved[row, 1] = b2
        curved[row, 2] = c2
        curved[row, 3] = d2
        curved[row, 4] = e2
        curved[row, 5] = f2
        curved[row, 6] = g2
        curved[row, 7] = h2
        change[row, 0] = a1
        change[row, 1] = b1
        change[row, 2] = c1
        change[row, 3] = d1
        change[row, 4] = e1
        change[row, 5] = f1
        change[row, 6] = g1
        change[row, 7] = h1


@_compiled
def look(
    data: NDArray[np.float32],
    indices: NDArray[np.uint32],
    indptr: NDArray[np.int64],
    chosen: NDArray[np.int64],
    rows: NDArray[np.float32],
    product: NDArray[np.float32],
) -> None:
    """Write the chosen rows of ``product (m, 8)``: the transposed table times ``rows (n, 8)``.

    Parameters
    ----------
    data, indices, indptr
        Columns of the table: ``nnz`` values, their rows, and where each of the ``m`` columns begins.
    chosen
        Columns.
    rows
        ``(n, 8)``.
    product
        ``(m, 8)``, written.
    """
    for j in chosen:
        _column(data, indices, indptr[j], indptr[j + 1], rows, product[j])


@_compiled
def sweep(
    data: NDArray[np.float32],
    indices: NDArray[np.uint32],
    indptr: NDArray[np.int64],
    moving: NDArray[np.int64],
    weights: NDArray[np.float32],
    derivatives: tuple[NDArray[np.float32], NDArray[np.float32]],
    curves: NDArray[np.float32],
    curved: NDArray[np.float32],
    change: NDArray[np.float32],
    left: NDArray[np.float32],
) -> int:
    """One update of each moving column's weights; how many columns are worth another.

    Parameters
    ----------
    data, indices, indptr
        As of :func:`look`.
    moving
        Columns to update, in this order; those worth another update are moved to the front.
    weights
        ``(m, 8)``, changed.
    derivatives
        ``(m, 8)`` each: first and second derivatives of the loss where the model was made.
    curves
        ``(n, 8)`` second derivatives of the rows' losses.
    curved, change
        ``(n, 8)`` change of the rows' slopes and scores since then, changed.
    left
        ``(8,)`` violation found, written.
    """
    tilts, bends = derivatives
    one, nothing, longest, kept = np.float32(1), np.float32(0), np.float32(_LONGEST), 0
    total, moves = np.empty(8, np.float32), np.empty(8, np.float32)
    left[:] = 0
    for k in range(len(moving)):
        j = moving[k]
        start, stop = indptr[j], indptr[j + 1]
        _column(data, indices, start, stop, curved, total)
        live, moved = False, False
        for lane in range(8):
            weight, slope = weights[j, lane], tilts[j, lane] + total[lane]
            violation = max(abs(slope) - one, nothing) if weight == 0 else abs(slope + np.sign(weight))
            left[lane] += violation
            live |= weight != 0 or violation > 0
            wanted = weight - slope / bends[j, lane]
            wanted = np.sign(wanted) * max(abs(wanted) - one / bends[j, lane], nothing)
            moves[lane] = min(max(wanted - weight, -longest), longest)
            weights[j, lane] += moves[lane]
            moved |= wanted != weight
        if live:
            moving[kept] = j
            kept += 1
        if moved:
            _spread(data, indices, start, stop, moves, curves, curved, change)
    return kept
