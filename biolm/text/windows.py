"""Long texts in overlapping windows: which window a piece is read in, and what the report says of it.

Dimensions: ``w`` windows of a text · ``p`` pieces of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Batch, Tokens
from biolm.errors import ConfigError

__all__ = ["LengthReport", "best_windows", "check_stride", "grouped", "packed", "window_starts"]

Item = TypeVar("Item")


def check_stride(width: int, overlap: int | None) -> int:
    """Pieces that neighbouring windows share; a quarter of a window by default.

    Parameters
    ----------
    width
        Pieces of a window.
    overlap
        What the user chose.

    Raises
    ------
    ConfigError
        If the windows cannot share so many.
    """
    shared = width // 4 if overlap is None else overlap
    if width < 1 or not 0 <= shared <= width // 2:
        raise ConfigError(
            f"windows of {width} pieces can overlap by at most {max(width // 2, 0)}, not {shared}; "
            "choose less overlap or longer windows"
        )
    return shared


def window_starts(length: int, width: int, overlap: int) -> list[int]:
    """First pieces of windows that cover a text, evenly spread; neighbours share at least ``overlap``.

    Parameters
    ----------
    length
        Pieces of the text.
    width
        Pieces of a window.
    overlap
        Pieces that neighbours share.

    Examples
    --------
    >>> window_starts(10, 4, 1), window_starts(3, 4, 1), window_starts(0, 4, 1)
    ([0, 3, 6], [0], [0])
    """
    if length <= width:
        return [0]
    # As few windows as cover the text with that overlap, then spread evenly: the last is no short rest.
    count = -(-(length - overlap) // (width - overlap))
    return [number * (length - width) // (count - 1) for number in range(count)]


def best_windows(length: int, width: int, starts: Sequence[int]) -> NDArray[np.int64]:
    """``(p,)`` the window in which each piece has most context on its poorer side.

    Borders of the text itself are none.

    Parameters
    ----------
    length
        Pieces of the text.
    width
        Pieces of a window.
    starts
        Of the windows.

    Examples
    --------
    >>> best_windows(6, 4, [0, 2]).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    place = np.arange(length)
    context = np.full((len(starts), length), -1.0)
    for number, start in enumerate(starts):
        end = min(start + width, length)
        inside = (place >= start) & (place < end)
        # The border of the text cuts no context off.
        left = place - start if start else np.full(length, np.inf)
        right = end - 1 - place if end < length else np.full(length, np.inf)
        context[number, inside] = np.minimum(left, right)[inside]
    best: NDArray[np.int64] = context.argmax(0)
    return best


def packed(
    ids: Sequence[NDArray[np.int64]], segments: Sequence[NDArray[np.int64]] | None = None
) -> tuple[Batch, NDArray[np.int64]]:
    """One batch of several windows, and the row at which each begins, with the end behind the last.

    Parameters
    ----------
    ids
        Pieces of each window, special tokens among them.
    segments
        Their token types; 0 by default.
    """
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in ids])]).astype(np.int64)
    joined = np.concatenate(ids).astype(np.int32)
    kinds = np.zeros_like(joined) if segments is None else np.concatenate(segments).astype(np.int32)
    index = np.arange(len(ids), dtype=np.int64)
    return Batch.from_tokens(Tokens(ids=joined, offsets=offsets, index=index, segments=kinds)), offsets


def grouped(items: Iterable[Item], budget: int, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Items in their order, in groups that hold no more than a budget, or a single larger item.

    Parameters
    ----------
    items
        Such as windows.
    budget
        Pieces of a batch.
    size
        Pieces of an item.
    """
    group: list[Item] = []
    used = 0
    for item in items:
        if group and used + size(item) > budget:
            yield group
            group, used = [], 0
        group.append(item)
        used += size(item)
    if group:
        yield group


@dataclass(slots=True)
class LengthReport:
    """How many texts were longer than the model reads, and what was done about it.

    Examples
    --------
    >>> report = LengthReport(longest=256)
    >>> report.add(300, 2)
    >>> report.add(20, 1)
    >>> str(report)
    '1 of 2 texts is longer than the 256 tokens the model reads; read in 2 overlapping windows, nothing cut'
    """

    longest: int
    texts: int = 0
    long: int = 0
    windows: int = 0
    pieces: int = 0
    most: int = 0

    def add(self, pieces: int, windows: int) -> None:
        """Note one text.

        Parameters
        ----------
        pieces
            Of the text.
        windows
            In which it is read.
        """
        self.texts += 1
        self.pieces += pieces
        self.most = max(self.most, pieces)
        if windows > 1:
            self.long += 1
            self.windows += windows

    def __str__(self) -> str:
        if not self.long:
            return f"all {self.texts:,} texts fit into the {self.longest} tokens the model reads at once"
        verb = "is" if self.long == 1 else "are"
        return (
            f"{self.long:,} of {self.texts:,} texts {verb} longer than the {self.longest} tokens the model "
            f"reads; read in {self.windows:,} overlapping windows, nothing cut"
        )
