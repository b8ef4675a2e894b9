"""Compiled kernels that turn rows of counts into tokens; twins in :mod:`tokens_numpy` give the same bytes.

Dimensions: ``n`` cells · ``g`` gene columns · ``nnz`` stored values · ``t`` tokens written · ``e`` edges.

Nothing here may depend on the order of additions, on fused multiply-adds or on a library's logarithm: each
formula is spelled out, and the twins follow the same spelling. Kernels take canonical rows (columns
ascending and apart, no negative and no infinite value), write from the start of their output arrays and
return how much they wrote. They release the interpreter lock, so threads can share the rows of a block.

All of them stand in one file because numba's cache notices changes of a kernel's own file only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled

__all__ = ["bin_rows", "continuous_rows", "rank_rows"]

DIGIT = 11  # bits a radix pass sorts by: two histograms of 2,048 counters stay in the first-level cache
RADIX = 1 << DIGIT
PLACE = (1 << 32) - 1  # low half of a packed item: the element's place in its row
TABLE = 4096  # counts below this are binned through a histogram instead of a sort
Rows = tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]  # and row totals


@compiled
def _widest(indptr: NDArray[np.int64]) -> int:
    """Stored values of the fullest row."""
    widest = 1
    for row in range(len(indptr) - 1):
        widest = max(widest, indptr[row + 1] - indptr[row])
    return widest


@compiled
def _sort_exactly(
    items: NDArray[np.int64], start: int, stop: int, key: NDArray[np.int64], gene: NDArray[np.int32]
) -> None:
    """Shell sort of ``items[start:stop]`` by (-key, gene): short runs cost an insertion sort."""
    gap = 1
    while gap < (stop - start) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for now in range(start + gap, stop):
            item = items[now]
            mine, token = key[item & PLACE], gene[item & PLACE]
            back = now
            while back - gap >= start:
                other = items[back - gap] & PLACE
                if key[other] > mine or (key[other] == mine and gene[other] < token):
                    break
                items[back] = items[back - gap]
                back -= gap
            items[back] = item
        gap //= 3


@compiled
def _order(
    key: NDArray[np.int64],
    gene: NDArray[np.int32],
    found: int,
    needed: int,
    items: NDArray[np.int64],
    spare: NDArray[np.int64],
    digits: NDArray[np.int64],
) -> None:
    """Sort elements 0 to ``found`` by (-key, gene); the first ``needed`` places end up in ``items``.

    Two stable radix passes over the top 22 bits of the row's own window of keys leave only short runs of
    equal top bits, which are put in order by exact comparison.
    """
    largest = smallest = key[0]
    for place in range(1, found):
        largest = max(largest, key[place])
        smallest = min(smallest, key[place])
    shift = 0
    while (largest - smallest) >> shift >= RADIX * RADIX:
        shift += 1
    digits[:] = 0
    for place in range(found):
        window = (largest - key[place]) >> shift
        items[place] = window << 32 | place
        digits[window & (RADIX - 1)] += 1
        digits[RADIX + (window >> DIGIT)] += 1
    low = high = 0
    for digit in range(RADIX):
        count = digits[digit]
        digits[digit] = low
        low += count
        count = digits[RADIX + digit]
        digits[RADIX + digit] = high
        high += count
    for place in range(found):
        digit = (items[place] >> 32) & (RADIX - 1)
        spare[digits[digit]] = items[place]
        digits[digit] += 1
    for place in range(found):
        digit = RADIX + (spare[place] >> (32 + DIGIT))
        items[digits[digit]] = spare[place]
        digits[digit] += 1
    start = 0
    while start < needed:
        stop = start + 1
        while stop < found and items[stop] >> 32 == items[start] >> 32:
            stop += 1
        if stop - start > 1:
            _sort_exactly(items, start, stop, key, gene)
        start = stop


@compiled
def _keep_largest(
    key: NDArray[np.int64],
    gene: NDArray[np.int32],
    found: int,
    limit: int,
    kept: NDArray[np.bool_],
    items: NDArray[np.int64],
    digits: NDArray[np.int64],
) -> None:
    """Mark the ``limit`` first elements by (-key, gene) without sorting the others."""
    largest = smallest = key[0]
    for place in range(1, found):
        largest = max(largest, key[place])
        smallest = min(smallest, key[place])
    shift = 0
    while (largest - smallest) >> shift >= RADIX:
        shift += 1
    digits[:RADIX] = 0
    for place in range(found):
        digits[(largest - key[place]) >> shift] += 1
    edge = taken = 0
    while taken + digits[edge] <= limit:
        taken += digits[edge]
        edge += 1
    close = 0
    for place in range(found):
        digit = (largest - key[place]) >> shift
        kept[place] = digit < edge
        if digit == edge:
            items[close] = place
            close += 1
    _sort_exactly(items, 0, close, key, gene)
    for place in range(limit - taken):
        kept[items[place]] = True


@compiled
def rank_rows(
    rows: Rows,
    tokens: NDArray[np.int32],
    scales: NDArray[np.float64],
    limit: int,
    ends: tuple[int, int],
    out: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]],
) -> int:
    """Tokens of each row by falling ``x / total * scale``, ties by token id.

    ``tokens``, ``scales (g,)``: token id (-1 for none) and factor of a column. ``ends``: tokens put
    before and after, -1 for none. ``values`` stays empty unless the caller wants the sorted values.
    """
    data, indices, indptr, totals = rows
    ids, values, lengths = out
    widest = _widest(indptr)
    value, gene = np.empty(widest, np.float64), np.empty(widest, np.int32)
    items, spare = np.empty(widest, np.int64), np.empty(widest, np.int64)
    digits = np.empty(2 * RADIX, np.int64)
    # The bits of positive floats, read as integers, have the order of the floats.
    key = value.view(np.int64)
    at = 0
    for row in range(len(indptr) - 1):
        start, total, found = at, totals[row], 0
        for place in range(indptr[row], indptr[row + 1]):
            column = indices[place]
            value[found] = data[place] / total * scales[column]
            gene[found] = tokens[column]
            found += (data[place] > 0) & (tokens[column] >= 0)
        needed = min(found, limit)
        if needed > 0:
            _order(key, gene, found, needed, items, spare, digits)
        if ends[0] >= 0:
            ids[at] = ends[0]
            at += 1
        for rank in range(needed):
            ids[at + rank] = gene[items[rank] & PLACE]
        if len(values) > 0:
            for rank in range(needed):
                values[at + rank] = value[items[rank] & PLACE]
        at += needed
        if ends[1] >= 0:
            ids[at] = ends[1]
            at += 1
        lengths[row] = at - start
    return at


@compiled
def _mix(state: np.uint64) -> np.uint64:
    """Scramble 64 bits: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@compiled
def _draw(cell: np.uint64, token: int) -> np.uint64:
    """64 random bits of a gene in a cell, from nothing but the cell's key and the token id."""
    return _mix(cell + np.uint64(token) * np.uint64(0x9E3779B97F4A7C15))


@compiled
def _keep_drawn(
    cell: np.uint64,
    gene: NDArray[np.int32],
    found: int,
    limit: int,
    kept: NDArray[np.bool_],
    items: NDArray[np.int64],
    spare: NDArray[np.int64],
    digits: NDArray[np.int64],
) -> None:
    """Mark ``limit`` genes of a cell chosen at random: those with the largest low half of their draw."""
    for place in range(found):
        spare[place] = np.int64(_draw(cell, gene[place]) & np.uint64(PLACE))
    _keep_largest(spare, gene, found, limit, kept, items, digits)


@compiled
def _legal_bins(
    unique: NDArray[np.float64],
    upto: NDArray[np.int64],
    kinds: int,
    quantiles: NDArray[np.float64],
    highest: NDArray[np.int64],
    span: NDArray[np.int64],
) -> None:
    """Highest bin and number of legal bins of each unique value.

    ``unique`` ascend and the row holds ``upto[i]`` values up to the i-th. Edges are the linear quantiles
    as numpy defines them (Hyndman and Fan 1996, type 7). A value lies in bin ``edges <= value``; where
    edges coincide with it, every bin down to ``edges < value`` plus one is legal.
    """
    edges = np.empty(len(quantiles), np.float64)
    last = upto[kinds - 1] - 1
    kind = 0
    for number in range(len(quantiles)):
        virtual = last * quantiles[number]
        below = min(np.int64(virtual), last)
        while upto[kind] <= below:
            kind += 1
        low = unique[kind]
        high = unique[kind + 1] if below < last and upto[kind] <= below + 1 else low
        part = virtual - below
        step = high - low
        edges[number] = high - step * (1 - part) if part >= 0.5 else low + step * part
    under = upon = 0
    for kind in range(kinds):
        while under < len(edges) and edges[under] < unique[kind]:
            under += 1
        while upon < len(edges) and edges[upon] <= unique[kind]:
            upon += 1
        highest[kind], span[kind] = upon, upon - under


@compiled
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
    """Token and value bin of each expressed gene, in column order.

    ``quantiles (e,)``; ``cells (n,)`` the random key of each cell; ``forced``: 32 bits used in place of
    the draw between legal bins, -1 to draw. ``first``: token and value put before, token -1 for none.
    """
    data, indices, indptr, _ = rows
    ids, bins, lengths = out
    widest = _widest(indptr)
    value, gene = np.empty(widest, np.float64), np.empty(widest, np.int32)
    kept, kind = np.empty(widest, np.bool_), np.empty(widest, np.int64)
    items, spare = np.empty(widest, np.int64), np.empty(widest, np.int64)
    unique, upto = np.empty(widest, np.float64), np.empty(widest, np.int64)
    highest, span = np.empty(widest, np.int64), np.empty(widest, np.int64)
    digits, table = np.empty(2 * RADIX, np.int64), np.zeros(TABLE, np.int64)
    key = value.view(np.int64)
    at = 0
    for row in range(len(indptr) - 1):
        start, found, kinds, whole = at, 0, 0, True
        for place in range(indptr[row], indptr[row + 1]):
            x = np.float64(data[place])
            token = tokens[indices[place]]
            value[found], gene[found] = x, token
            use = (x > 0) & (token >= 0)
            kind[found] = np.int64(x) if x < TABLE else 0
            whole &= (not use) | (kind[found] == x)
            found += use
        if found > 0:
            # Both ways list the unique values in order; counting is the fast one and needs small counts.
            if whole:
                kinds = _count_kinds(kind, found, unique, upto, table)
            else:
                _order(key, gene, found, found, items, spare, digits)
                for rank in range(found - 1, -1, -1):
                    place = items[rank] & PLACE
                    if kinds == 0 or value[place] != unique[kinds - 1]:
                        unique[kinds] = value[place]
                        kinds += 1
                    kind[place] = kinds - 1
                    upto[kinds - 1] = found - rank
            _legal_bins(unique, upto, kinds, quantiles, highest, span)
        if found > limit:
            _keep_drawn(cells[row], gene, found, limit, kept, items, spare, digits)
        if first[0] >= 0:
            ids[at], bins[at] = first
            at += 1
        for place in range(found):
            if found > limit and not kept[place]:
                continue
            bits = np.int64(_draw(cells[row], gene[place]) >> np.uint64(32)) if forced < 0 else forced
            ids[at] = gene[place]
            bins[at] = highest[kind[place]] - (bits * span[kind[place]] >> 32)
            at += 1
        lengths[row] = at - start
    return at


@compiled
def _count_kinds(
    kind: NDArray[np.int64],
    found: int,
    unique: NDArray[np.float64],
    upto: NDArray[np.int64],
    table: NDArray[np.int64],
) -> int:
    """List the unique counts of a row by a histogram; ``kind`` turns from counts to their numbers."""
    largest = 0
    for place in range(found):
        table[kind[place]] += 1
        largest = max(largest, kind[place])
    kinds = total = 0
    for count in range(1, largest + 1):
        if table[count] > 0:
            total += table[count]
            unique[kinds], upto[kinds] = count, total
            table[count] = kinds
            kinds += 1
    for place in range(found):
        kind[place] = table[kind[place]]
    table[: largest + 1] = 0
    return kinds


@compiled
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
    """Token and normalised value of each expressed gene, in column order.

    Rows longer than ``limit`` keep their largest values, or genes drawn by ``cells`` if ``sample``.
    """
    data, indices, indptr, totals = rows
    ids, values, lengths = out
    widest = _widest(indptr)
    value, gene = np.empty(widest, np.float64), np.empty(widest, np.int32)
    items, spare = np.empty(widest, np.int64), np.empty(widest, np.int64)
    kept, digits = np.empty(widest, np.bool_), np.empty(2 * RADIX, np.int64)
    key = value.view(np.int64)
    at = 0
    for row in range(len(indptr) - 1):
        start, total, found = at, totals[row], 0
        for place in range(indptr[row], indptr[row + 1]):
            token = tokens[indices[place]]
            value[found] = data[place] / total * target
            gene[found] = token
            found += (data[place] > 0) & (token >= 0)
        if found > limit:
            if sample:
                _keep_drawn(cells[row], gene, found, limit, kept, items, spare, digits)
            else:
                _keep_largest(key, gene, found, limit, kept, items, digits)
            length = 0
            for place in range(found):
                value[length], gene[length] = value[place], gene[place]
                length += kept[place]
            found = limit
        if first >= 0:
            ids[at], values[at] = first, 0.0
            at += 1
        ids[at : at + found] = gene[:found]
        values[at : at + found] = value[:found]
        at += found
        lengths[row] = at - start
    return at
