"""The compiled kernel of value bins; its twin in plain numpy gives the same bytes.

Dimensions: ``n`` cells · ``g`` gene columns · ``e`` edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled
from biolm.adapters.cells.kernels.draw_numba import draw
from biolm.adapters.cells.kernels.rows_numba import Rows, check_row, expressed, unsigned, widest
from biolm.adapters.cells.kernels.sort_numba import RADIX, close_up, keep_largest, order

__all__ = ["bin_rows"]

TABLE = 4096  # counts below this are binned through a histogram instead of a sort
SPAN = 16  # bits of a packed pair (number of legal bins, highest bin) that hold the bin


@compiled
def _count_kinds(
    value: NDArray[np.float64],
    kind: NDArray[np.uint32],
    unique: NDArray[np.float64],
    upto: NDArray[np.int64],
    table: NDArray[np.int32],
) -> int:
    """List the unique values of a row of small counts by a histogram; 0 if they are not small counts.

    ``unique`` ascend, ``upto[i]`` values go up to the i-th, and ``kind`` says where a value's count stands.
    """
    largest = odd = 0
    for place in range(len(value)):
        small = np.int32(min(value[place], TABLE))
        kind[place] = small
        odd += small != value[place]
        largest = max(largest, int(small))
    if odd or largest >= TABLE:
        return 0
    # Most counts are 1 or 2: four counters each, lest every addition wait for the one before.
    for place in range(len(value)):
        table[kind[place], place & 3] += 1
    kinds = total = 0
    for count in range(1, largest + 1):
        here = table[count, 0] + table[count, 1] + table[count, 2] + table[count, 3]
        if here > 0:
            total += here
            unique[kinds], upto[kinds] = count, total
            kinds += 1
    table[: largest + 1] = 0
    return kinds


@compiled
def _list_kinds(
    value: NDArray[np.float64],
    items: NDArray[np.uint32],
    kind: NDArray[np.uint32],
    unique: NDArray[np.float64],
    upto: NDArray[np.int64],
) -> int:
    """List the unique values of a row from their falling order ``items``; ``kind`` gets their numbers."""
    kinds = 0
    for rank in range(len(items) - 1, -1, -1):
        x = value[items[rank]]
        if kinds == 0 or x != unique[kinds - 1]:
            unique[kinds] = x
            kinds += 1
        kind[items[rank]] = kinds - 1
        upto[kinds - 1] = len(items) - rank
    return kinds


@compiled
def _legal_bins(
    unique: NDArray[np.float64],
    upto: NDArray[np.int64],
    quantiles: NDArray[np.float64],
    edges: NDArray[np.float64],
    legal: NDArray[np.uint32],
) -> None:
    """Highest bin of each unique value, and in the bits above it the number of its legal bins.

    Edges are linear quantiles as numpy defines them (Hyndman and Fan 1996, type 7). A value has as many
    edges at or below it as its highest bin; the legal bins are those above the edges that lie below it.
    """
    last = upto[-1] - 1
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
    for kind in range(len(unique)):
        while under < len(edges) and edges[under] < unique[kind]:
            under += 1
        while upon < len(edges) and edges[upon] <= unique[kind]:
            upon += 1
        legal[kind] = (upon - under) << SPAN | upon


@compiled
def _spread(
    pairs: NDArray[np.uint32], drawn: NDArray[np.uint32], forced: int, bins: NDArray[np.int16]
) -> None:
    """One of the legal bins of each gene: the highest less the fraction of the span that was drawn."""
    if forced >= 0:
        drawn[:] = forced
    for place in range(len(pairs)):
        steps = np.uint64(drawn[place]) * np.uint64(pairs[place] >> np.uint32(SPAN))
        bins[place] = np.int32(pairs[place] & np.uint32((1 << SPAN) - 1)) - np.int32(steps >> np.uint64(32))


@compiled
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

    ``quantiles (e,)``; ``cells (n,)`` the random key of each cell; ``forced``: 32 bits used in place of
    the draw between legal bins, -1 to draw. ``first``: token and value put before, token -1 for none.

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
    data, indices, indptr, totals = rows
    ids, bins, lengths = out
    room = max(widest(indptr), TABLE)
    value, gene = np.empty(room, np.float64), np.empty(room, np.int32)
    key, work = value.view(np.int64), np.empty(room, np.int64)
    window, items, spare = unsigned(room), unsigned(room), unsigned(room)
    kind, legal, drawn = unsigned(room), unsigned(room), unsigned(room)
    low, high = unsigned(RADIX), unsigned(RADIX)
    unique, upto = np.empty(room, np.float64), np.empty(room, np.int64)
    edges, kept = np.empty(len(quantiles), np.float64), np.empty(room, np.bool_)
    table = np.zeros((TABLE, 4), np.int32)
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
        if count > 0:
            kinds = _count_kinds(value[:count], kind, unique, upto, table)
            small = kinds > 0
            if not small:
                order(key, gene, count, window, items[:count], spare, low, high)
                kinds = _list_kinds(value, items[:count], kind, unique, upto)
            _legal_bins(unique[:kinds], upto[:kinds], quantiles, edges, legal)
            if small:
                # Small counts stand for themselves: spread the pairs to where the counts point.
                for number in range(kinds - 1, -1, -1):
                    legal[np.int64(unique[number])] = legal[number]
        seeds = np.uint32(cells[row]), np.uint32(cells[row] >> np.uint64(32))
        if count > limit:
            # The seeds change places, so that being kept tells nothing about the bin that is drawn.
            draw((seeds[1], seeds[0]), gene[:count], drawn)
            for place in range(count):
                work[place] = drawn[place]
            keep_largest(work[:count], gene, limit, items, kept, low)
            close_up(kept[:count], gene, kind)
            count = limit
        if first[0] >= 0:
            ids[at], bins[at] = first
            at += 1
        for place in range(count):
            items[place] = legal[kind[place]]
        draw(seeds, gene[:count], drawn)
        _spread(items[:count], drawn, forced, bins[at : at + count])
        ids[at : at + count] = gene[:count]
        at += count
        lengths[row] = at - start
    return at if ascending else -1
