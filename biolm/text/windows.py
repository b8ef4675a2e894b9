"""Long texts in overlapping windows: which window a piece is read in, and what the report says of it.

Dimensions: ``w`` windows of a text · ``p`` pieces of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError

__all__ = ["LengthReport", "best_windows", "check_stride", "window_starts"]


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
            f"{self.long:,} of {self.texts:,} texts {verb} longer than the {self.longest} tokens the "
            "model reads; "
            f"read in {self.windows:,} overlapping windows, nothing cut"
        )
