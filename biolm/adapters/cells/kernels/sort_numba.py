"""Compiled sorting and selecting of the genes of one cell by (-key, token id).

Keys are integers from 0 up; those of 0 stand for nothing and come last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled

__all__ = ["DIGIT", "RADIX", "close_up", "keep_largest", "order"]

DIGIT = 10  # bits a radix pass sorts by: the counters of both passes take 8 kB of the first-level cache
RADIX = 1 << DIGIT
LAST = RADIX * RADIX - 1
PATIENCE = 32  # equal keys in a row before they are worth sorting by token first


@compiled
def _sort_exactly(
    items: NDArray[np.uint32],
    start: np.int64,
    stop: np.int64,
    key: NDArray[np.int64],
    gene: NDArray[np.int32],
) -> None:
    """Shell sort of ``items[start:stop]`` by (-key, gene): short runs cost an insertion sort."""
    gap = 1
    while gap < (stop - start) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for now in range(start + gap, stop):
            item = items[now]
            back = now
            while back - gap >= start:
                other = items[back - gap]
                if key[other] > key[item] or (key[other] == key[item] and gene[other] < gene[item]):
                    break
                items[back] = other
                back -= gap
            items[back] = item
        gap //= 3


@compiled
def _radix_sort(
    window: NDArray[np.uint32],
    items: NDArray[np.uint32],
    spare: NDArray[np.uint32],
    low: NDArray[np.uint32],
    high: NDArray[np.uint32],
) -> None:
    """Stable sort of ``items``, at most 4 million, by the 20 bits of ``window[item]``, in two passes."""
    mask, shift, place_bits = np.uint32(RADIX - 1), np.uint32(DIGIT), np.uint32(32 - DIGIT)
    low[:] = 0
    high[:] = 0
    for place in range(len(items)):
        low[window[place] & mask] += 1
        high[window[place] >> shift] += 1
    below_low = below_high = np.uint32(0)
    for digit in range(RADIX):
        count = low[digit]
        low[digit] = below_low
        below_low = np.uint32(below_low + count)
        count = high[digit]
        high[digit] = below_high
        below_high = np.uint32(below_high + count)
    # The second digit travels with the item: looking it up again costs more than packing it.
    for place in range(len(items)):
        item = items[place]
        digit = window[item] & mask
        to = low[digit]
        spare[to] = (window[item] >> shift) << place_bits | item
        low[digit] = to + 1
    for place in range(len(items)):
        digit = spare[place] >> place_bits
        to = high[digit]
        items[to] = spare[place] & np.uint32((1 << (32 - DIGIT)) - 1)
        high[digit] = to + 1


@compiled
def _key_window(key: NDArray[np.int64], count: int, window: NDArray[np.uint32]) -> None:
    """The top 20 bits of ``largest - key`` over the row's own span of keys; keys of 0 come last."""
    largest, smallest = np.int64(0), np.int64(1) << 62
    for place in range(count):
        largest = max(largest, key[place])
        smallest = min(smallest, key[place] if key[place] > 0 else np.int64(1) << 62)
    shift = 0
    while (largest - smallest) >> shift >= LAST:
        shift += 1
    for place in range(count):
        window[place] = min((largest - key[place]) >> shift, LAST)


@compiled
def _settle(
    key: NDArray[np.int64],
    gene: NDArray[np.int32],
    needed: int,
    window: NDArray[np.uint32],
    items: NDArray[np.uint32],
    clashes: NDArray[np.uint32],
    patience: int,
) -> bool:
    """Put runs of one window in exact order; False if one is longer than ``patience``."""
    repeats = 0
    before = window[items[0]]
    for place in range(1, len(items)):
        now = window[items[place]]
        clashes[repeats] = place
        repeats += now == before
        before = now
    at = 0
    while at < repeats and clashes[at] <= needed:
        end = at + 1
        while end < repeats and clashes[end] == clashes[end - 1] + 1:
            end += 1
        if end - at >= patience:
            return False
        _sort_exactly(items, np.int64(clashes[at]) - 1, np.int64(clashes[end - 1]) + 1, key, gene)
        at = end
    return True


@compiled
def order(
    key: NDArray[np.int64],
    gene: NDArray[np.int32],
    needed: int,
    window: NDArray[np.uint32],
    items: NDArray[np.uint32],
    spare: NDArray[np.uint32],
    low: NDArray[np.uint32],
    high: NDArray[np.uint32],
) -> None:
    """Sort elements by (-key, gene); the first ``needed`` places of ``items`` are exact.

    The radix sort leaves only short runs of equal top bits to exact comparison. Where many keys are
    equal, a first sort by token puts the runs in order beforehand, because the passes are stable.

    Parameters
    ----------
    key, gene
        Of each element.
    needed
        How many places must be exact.
    window, items, spare
        Working space; ``items`` holds the order at the end.
    low, high
        Counts of the radix passes.
    """
    count = len(items)
    _key_window(key, count, window)
    for place in range(count):
        items[place] = place
    _radix_sort(window, items, spare, low, high)
    if _settle(key, gene, needed, window, items, spare, PATIENCE):
        return
    for place in range(count):
        items[place] = place
        window[place] = min(max(gene[place], 0), LAST)
    _radix_sort(window, items, spare, low, high)
    _key_window(key, count, window)
    _radix_sort(window, items, spare, low, high)
    _settle(key, gene, needed, window, items, spare, count + 1)


@compiled
def keep_largest(
    work: NDArray[np.int64],
    gene: NDArray[np.int32],
    limit: int,
    places: NDArray[np.uint32],
    kept: NDArray[np.bool_],
    counts: NDArray[np.uint32],
) -> None:
    """Mark the ``limit`` first elements by (-key, gene) without sorting; ``work`` holds keys, is used up.

    Each round cuts the candidates to one of up to 1,024 ranges of keys; equal keys go on by token.

    Parameters
    ----------
    work, gene
        Key and token id of each element.
    limit
        How many are kept.
    places, counts
        Working space.
    kept
        Whether each is kept, written.
    """
    open_, need, tied = len(work), limit, False
    for place in range(open_):
        places[place], kept[place] = place, False
    while need > 0:
        largest, smallest = work[0], work[0]
        for place in range(open_):
            largest, smallest = max(largest, work[place]), min(smallest, work[place])
        if open_ == need or (largest == smallest and tied):
            for place in range(need):
                kept[places[place]] = True
            return
        if largest == smallest:
            tied = True
            for place in range(open_):
                work[place] = -np.int64(gene[places[place]])
            continue
        shift = 0
        while (largest - smallest) >> shift >= RADIX:
            shift += 1
        counts[:] = 0
        for place in range(open_):
            counts[np.uint32((largest - work[place]) >> shift)] += 1
        edge = 0
        while counts[edge] <= need:
            need -= counts[edge]
            edge += 1
        left = 0
        for place in range(open_):
            digit = (largest - work[place]) >> shift
            kept[places[place]] = digit < edge
            work[left], places[left] = work[place], places[place]
            left += digit == edge
        open_ = left


@compiled
def close_up(kept: NDArray[np.bool_], gene: NDArray[np.int32], other: NDArray[Any]) -> None:
    """Move the kept elements of two columns to their front, in order.

    Parameters
    ----------
    kept
        Whether each element is kept.
    gene, other
        The columns.
    """
    left = 0
    for place in range(len(kept)):
        gene[left], other[left] = gene[place], other[place]
        left += kept[place]
