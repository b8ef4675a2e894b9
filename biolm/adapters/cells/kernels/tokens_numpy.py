"""Rows of counts to tokens in numpy, a row at a time; twins of :mod:`tokens_numba`, which explains them.

Dimensions: ``n`` cells · ``g`` gene columns · ``t`` tokens written · ``e`` edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bin_rows", "continuous_rows", "rank_rows"]

Rows = tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]  # and row totals


def _expressed(rows: Rows, row: int, tokens: NDArray[np.int32]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Values and columns of a row's expressed genes that have a token."""
    data, indices, indptr, _ = rows
    span = slice(indptr[row], indptr[row + 1])
    use = (data[span] > 0) & (tokens[indices[span]] >= 0)
    return data[span][use], indices[span][use]


def rank_rows(
    rows: Rows,
    tokens: NDArray[np.int32],
    scales: NDArray[np.float64],
    limit: int,
    ends: tuple[int, int],
    out: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]],
) -> int:
    """Tokens of each row by falling ``x / total * scale``, ties by token id."""
    ids, values, lengths = out
    head, tail = [end for end in ends[:1] if end >= 0], [end for end in ends[1:] if end >= 0]
    at = 0
    for row in range(len(lengths)):
        x, column = _expressed(rows, row, tokens)
        value, gene = x / rows[3][row] * scales[column], tokens[column]
        order = np.lexsort((gene, -value))[:limit]
        length = len(head) + len(order) + len(tail)
        ids[at : at + length] = np.concatenate([head, gene[order], tail])
        if len(values):
            values[at + len(head) : at + len(head) + len(order)] = value[order]
        lengths[row] = length
        at += length
    return at


def _draw(cell: np.uint64, gene: NDArray[np.int32]) -> NDArray[np.uint64]:
    """64 random bits of each gene in a cell, from nothing but the cell's key and the token ids."""
    state = np.full(len(gene), cell) + gene.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    drawn: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return drawn


def _largest(key: NDArray[Any], gene: NDArray[np.int32], limit: int) -> NDArray[np.intp]:
    """Places, ascending, of the ``limit`` first elements by (-key, gene)."""
    return np.sort(np.lexsort((gene, -key))[:limit])


def _drawn(cell: np.uint64, gene: NDArray[np.int32], limit: int) -> NDArray[np.intp]:
    """Places, ascending, of ``limit`` genes of a cell chosen at random."""
    return _largest((_draw(cell, gene) & np.uint64(0xFFFFFFFF)).astype(np.int64), gene, limit)


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
    tokens: NDArray[np.int32],
    quantiles: NDArray[np.float64],
    cells: NDArray[np.uint64],
    forced: int,
    limit: int,
    first: tuple[int, int],
    out: tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int64]],
) -> int:
    """Token and value bin of each expressed gene, in column order."""
    ids, bins, lengths = out
    at = 0
    for row in range(len(lengths)):
        x, column = _expressed(rows, row, tokens)
        gene = tokens[column]
        if len(x):
            highest, span = _legal_bins(x.astype(np.float64), quantiles)
            drawn = (_draw(cells[row], gene) >> np.uint64(32)).astype(np.int64)
            binned = highest - ((drawn if forced < 0 else forced) * span >> 32)
            if len(x) > limit:
                kept = _drawn(cells[row], gene, limit)
                gene, binned = gene[kept], binned[kept]
        else:
            binned = np.empty(0, np.int64)
        start = at
        if first[0] >= 0:
            ids[at], bins[at] = first
            at += 1
        ids[at : at + len(gene)], bins[at : at + len(gene)] = gene, binned
        at += len(gene)
        lengths[row] = at - start
    return at


def continuous_rows(
    rows: Rows,
    tokens: NDArray[np.int32],
    target: float,
    cells: NDArray[np.uint64],
    limit: int,
    sample: bool,
    first: int,
    out: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]],
) -> int:
    """Token and normalised value of each expressed gene, in column order."""
    ids, values, lengths = out
    at = 0
    for row in range(len(lengths)):
        x, column = _expressed(rows, row, tokens)
        value, gene = x / rows[3][row] * target, tokens[column]
        if len(x) > limit:
            kept = _drawn(cells[row], gene, limit) if sample else _largest(value, gene, limit)
            value, gene = value[kept], gene[kept]
        start = at
        if first >= 0:
            ids[at], values[at] = first, 0.0
            at += 1
        ids[at : at + len(gene)], values[at : at + len(gene)] = gene, value
        at += len(gene)
        lengths[row] = at - start
    return at
