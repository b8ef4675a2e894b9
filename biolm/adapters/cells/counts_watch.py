"""Every block is looked at for counts as it is read: one normalised sample among others must not pass.

Dimensions: ``n`` cells of a block · ``v`` stored values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock, CellSource
from biolm.io.cells.labels import label_text

__all__ = ["WHOLE", "fractional", "rows_in_words", "rows_with", "watcher"]

WHOLE = 1e-6  # counts that went through text or float32 sums carry noise of this size at most
STRIP = 1 << 15


def fractional(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values ``(v,)`` are no whole numbers; what is not finite is left to other checks.

    Examples
    --------
    >>> fractional(np.array([2.0, 2.0000001, 0.5, 1e-9])).tolist()
    [False, False, True, True]
    """
    if values.dtype.kind != "f" or _all_whole(values):
        return np.zeros(len(values), bool)
    exact = values.astype(np.float64)
    nearest = np.rint(exact)
    with np.errstate(invalid="ignore"):
        far = np.abs(exact - nearest) > WHOLE * np.maximum(1.0, np.abs(exact))
    # A tiny value is no count of zero: zeros are stored as zero or not at all.
    apart: NDArray[np.bool_] = (far | ((nearest == 0) & (exact != 0))) & np.isfinite(exact)
    return apart


def _all_whole(values: NDArray[Any]) -> bool:
    """Whether values are whole to the last bit, as in nearly all blocks; in strips that stay in the cache."""
    strips = (values[start : start + STRIP] for start in range(0, len(values), STRIP))
    return all(np.array_equal(np.rint(strip), strip) for strip in strips)


def rows_with(block: CellBlock, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells ``(n,)`` of a block that hold a marked value ``(v,)``.

    Parameters
    ----------
    block
        The cells.
    marked
        ``(v,)`` stored values that are meant.
    """
    before = np.concatenate([[0], np.cumsum(marked)])
    return np.asarray(np.diff(before[block.indptr]) > 0)


def watcher(
    sampled: NDArray[np.int64], refuse: Callable[[CellSource, CellBlock, str], None]
) -> Callable[[CellSource, CellBlock], None]:
    """A look at each block that a source reads, for :meth:`~biolm.io.cells.CellSource.watch`.

    Parameters
    ----------
    sampled
        Cells that are known to hold counts.
    refuse
        Raises; gets the source, the cells that hold no counts and the sentence part that names them.
    """

    def look(source: CellSource, block: CellBlock) -> None:
        marked = fractional(block.data)
        if not marked.any():
            return
        bad = rows_with(block, marked)
        good = np.concatenate([sampled, block.numbers[~bad]])
        refused = block.take(np.flatnonzero(bad))
        refuse(source, refused, rows_in_words(source, refused.numbers, good))

    return look


def rows_in_words(source: CellSource, bad: NDArray[np.int64], good: NDArray[np.int64]) -> str:
    """Cells by number, and the value of obs that they share while no good cell has it.

    Parameters
    ----------
    source
        The open cells.
    bad, good
        Cells that hold no counts, and cells that do.
    """
    first, last = int(bad.min()), int(bad.max())
    if first == last:
        where = f"in cell {first:,}"
    elif last - first + 1 == len(bad):
        where = f"in cells {first:,} to {last:,}"
    else:
        where = f"in {len(bad):,} of the cells {first:,} to {last:,}"
    shared = _shared(source, bad, good)
    return f"{where} (counted from 0{f'; {shared} in obs' if shared else ''})"


def _shared(source: CellSource, bad: NDArray[np.int64], good: NDArray[np.int64]) -> str:
    """The obs value of the fewest cells that all bad cells have and no good one; empty if there is none."""
    if len(bad) < 2:
        return ""
    best, size = "", source.n_cells
    for name in source.obs_columns():
        values = label_text(source.obs_column(name))
        value = values[bad[0]]
        same = values == value
        count = int(same.sum())
        if value and count < size and same[bad].all() and not same[good].any():
            best, size = f"{name} = {str(value)!r}", count
    return best
