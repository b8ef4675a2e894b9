"""Exact nearest neighbours by blocked matrix products.

Dimensions: ``q`` query cells · ``n`` reference cells · ``d`` width · ``k`` neighbours · ``w`` candidates.

A product in float32 names candidates; their distances are computed again from the difference of the two
vectors in float64. So a distance depends on its two cells alone, not on the block they were met in, and a
copy of a cell is at distance 0. Equal distances are ordered by row of the reference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "directions", "exact_neighbours", "refine"]

METRICS = ("cosine", "euclidean")

_QUERY_ROWS = 512
_REFERENCE_ROWS = 8192
# Candidates kept beyond k, so that rounding in the product cannot push a true neighbour out.
_SLACK = 16

Found = tuple[NDArray[np.int64], NDArray[np.float64]]


def directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows ``(n, d)`` of length 1, on which the Euclidean order is that of the angle; zeros stay zeros.

    Examples
    --------
    >>> directions(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    rows = np.asarray(vectors, np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def exact_neighbours(
    queries: NDArray[np.float32],
    reference: NDArray[np.float32],
    k: int,
    *,
    metric: str,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Found:
    """The ``k`` nearest rows of the reference to every query.

    Memory holds one block of each and their product, whatever ``q`` and ``n`` are.

    Parameters
    ----------
    queries
        ``(q, d)``; for ``cosine`` of length 1 (:func:`directions`).
    reference
        ``(n, d)``, in memory or mapped from a file; likewise.
    k
        Neighbours, at most ``n``.
    metric
        ``cosine`` (1 - cosine of the angle) or ``euclidean``.
    groups
        Codes ``(q,)`` and ``(n,)``: pairs with the same code are left out, such as a cell and itself.

    Returns
    -------
    Rows ``(q, k)`` and distances ``(q, k)``, nearest first; -1 and infinity where there are too few.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [3.0]], np.float32)
    >>> rows, distances = exact_neighbours(points[2:], points, 2, metric="euclidean")
    >>> rows.tolist(), distances.tolist()
    ([[2, 1]], [[0.0, 2.0]])
    """
    rows, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    for start in range(0, len(queries), _QUERY_ROWS):
        span = slice(start, start + _QUERY_ROWS)
        codes = None if groups is None else (groups[0][span], groups[1])
        # Fast products choose, float64 differences decide: the same neighbours on every machine.
        candidates = _candidates(queries[span], reference, k + _SLACK, codes)
        rows[span], distances[span] = refine(queries[span], reference, candidates, k, metric=metric)
    return rows, distances


def _candidates(
    queries: NDArray[np.float32],
    reference: NDArray[np.float32],
    wanted: int,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
) -> NDArray[np.int64]:
    """``(q, w)`` rows of about the least distance, in no order; -1 where there are fewer."""
    rows = np.full((len(queries), wanted), -1, np.int64)
    best = np.full((len(queries), wanted), -np.inf, np.float32)
    queries = np.asarray(queries, np.float32)
    for start in range(0, len(reference), _REFERENCE_ROWS):
        part = np.asarray(reference[start : start + _REFERENCE_ROWS], np.float32)
        # Least |a - b|^2 is largest 2 a.b - |b|^2.
        scores = queries @ part.T
        scores *= 2
        scores -= np.einsum("nd,nd->n", part, part)
        if groups is not None:
            # Cells of one batch resemble each other for reasons other than type.
            scores[groups[0][:, None] == groups[1][None, start : start + len(part)]] = -np.inf
        top = _top(scores, wanted)
        scores = np.concatenate([best, np.take_along_axis(scores, top, 1)], 1)
        named = np.concatenate([rows, top + start], 1)
        keep = _top(scores, wanted)
        best, rows = np.take_along_axis(scores, keep, 1), np.take_along_axis(named, keep, 1)
        rows[np.isneginf(best)] = -1
    return rows


def _top(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Columns of the largest scores of every row, in no order."""
    if count >= scores.shape[1]:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, scores.shape[1] - count, axis=1)[:, -count:]


def refine(
    queries: NDArray[np.float32],
    reference: NDArray[np.float32],
    candidates: NDArray[np.int64],
    k: int,
    *,
    metric: str,
) -> Found:
    """Exact distances to the candidates ``(q, w)``, and the ``k`` least of them; -1 names none.

    Parameters
    ----------
    queries
        ``(q, d)``.
    reference
        ``(n, d)``.
    candidates
        ``(q, w)`` rows of the reference, -1 for none.
    k
        Neighbours.
    metric
        ``cosine`` or ``euclidean``.
    """
    count = len(queries)
    rows, distances = np.full((count, k), -1, np.int64), np.full((count, k), np.inf)
    for place in range(count):
        named = np.unique(candidates[place])
        named = named[named >= 0]
        gap = np.asarray(reference[named], np.float64) - queries[place]
        squares = np.einsum("wd,wd->w", gap, gap)
        # A stable sort of ascending rows orders equal distances by row.
        order = np.argsort(squares, kind="stable")[:k]
        width = len(order)
        rows[place, :width] = named[order]
        # For vectors of length 1, |a - b|^2 = 2 (1 - cos).
        distances[place, :width] = squares[order] / 2 if metric == "cosine" else np.sqrt(squares[order])
    return rows, distances
