"""Sequences longer than a model reads: overlapping windows, and one state a token from all of them.

Dimensions: ``w`` windows · ``s`` tokens of one window, special ones left out · ``d`` width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biolm.batch import Tokens
from biolm.errors import ConfigError

__all__ = ["Merger", "WindowPool", "Windows", "cut_windows", "window_starts"]


def window_starts(length: int, width: int, overlap: int) -> NDArray[np.int64]:
    """``(w,)`` first tokens of windows that cover a sequence, evenly spread; neighbours share ``overlap``.

    Parameters
    ----------
    length
        Tokens of the sequence.
    width
        Of a window.
    overlap
        Least tokens that neighbours share.

    Examples
    --------
    >>> window_starts(10, 4, 1).tolist()
    [0, 3, 6]
    >>> window_starts(3, 4, 1).tolist()
    [0]
    """
    if length <= width:
        return np.zeros(1, np.int64)
    count = -(-(length - overlap) // (width - overlap))
    return np.arange(count) * (length - width) // (count - 1)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of some sequences, sequence by sequence and from left to right.

    Parameters
    ----------
    tokens
        Windows as examples, with special tokens around each; ``index`` holds their sequence's row.
    starts
        ``(w,)`` place of each window's first token in its sequence, special tokens not counted.
    lengths
        ``(n,)`` tokens of each row of the cut table, special ones not counted.
    """

    tokens: Tokens
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)


def cut_windows(
    tokens: Tokens, rows: NDArray[np.intp], special: tuple[int, int], longest: int, overlap: int | None = None
) -> Windows:
    """Cut the sequences ``rows`` into windows of at most ``longest`` tokens.

    Parameters
    ----------
    tokens
        A block of sequences with their special tokens.
    special
        How many stand before and after each.
    longest
        Most tokens of a window, special ones included.
    overlap
        Least tokens that neighbours share; None for a quarter of a window.

    Raises
    ------
    ConfigError
        If the windows are too short for that.
    """
    before, after = special
    width = longest - before - after
    shared = width // 4 if overlap is None else overlap
    if width < 1 or not 0 <= shared <= width // 2:
        raise ConfigError(
            f"windows of {longest} tokens can overlap by at most {max(width // 2, 0)}, not {shared}; "
            "choose longer windows or less overlap"
        )
    pieces, firsts, owners = [], [], []
    for row in rows.tolist():
        ids = tokens[row].ids
        head, inner, tail = ids[:before], ids[before : len(ids) - after], ids[len(ids) - after :]
        for start in window_starts(len(inner), width, shared).tolist():
            pieces.append(np.concatenate([head, inner[start : start + width], tail]))
            firsts.append(start)
            owners.append(row)
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return Windows(
        Tokens(
            ids=np.concatenate(pieces) if pieces else np.zeros(0, np.int32),
            offsets=offsets,
            index=np.array(owners, np.int64),
        ),
        np.array(firsts, np.int64),
        tokens.lengths - before - after,
    )


class Merger:
    """States of the windows of one sequence, merged as they come.

    A token's state is the mean over the windows that hold it, weighted by the distance to the nearer
    border of the window, so that no step shows where a window begins or ends. Borders of the sequence
    itself are none.

    Parameters
    ----------
    length
        Tokens of the sequence, special ones left out.

    Examples
    --------
    >>> merger = Merger(6)
    >>> len(merger.add(0, torch.ones(4, 1)))
    0
    >>> merger.add(2, torch.zeros(4, 1)).flatten().mul(3).tolist()
    [3.0, 3.0, 2.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._start = 0
        self._total: Tensor | None = None
        self._weight: Tensor | None = None

    def add(self, start: int, states: Tensor) -> Tensor:
        """Take the states ``(s, d)`` of the next window; give those ``(·, d)`` that are finished by it.

        Parameters
        ----------
        start
            Place of the window's first state in the record.
        states
            ``(s, d)``.
        """
        end = start + len(states)
        weight = self._weights(start, len(states), states.device)
        total = states.float() * weight
        finished = total[:0]
        if self._total is not None and self._weight is not None:
            # What lies before the next window gets nothing more.
            ready = start - self._start
            finished = self._total[:ready] / self._weight[:ready]
            shared = len(self._total) - ready
            total[:shared] += self._total[ready:]
            weight[:shared] += self._weight[ready:]
        if end == self._length:
            self._total = self._weight = None
            return torch.cat([finished, total / weight])
        self._start, self._total, self._weight = start, total, weight
        return finished

    def _weights(self, start: int, length: int, device: torch.device) -> Tensor:
        """``(s, 1)`` distance of each token to the nearer border that is not the sequence's own."""
        place = torch.arange(length, device=device, dtype=torch.float32)
        # The border of the sequence is no cut: states there weigh as those in the middle.
        far = torch.full_like(place, float(self._length))
        left = place + 1 if start else far
        right = length - place if start + length < self._length else far
        return torch.minimum(left, right)[:, None]


class WindowPool:
    """One vector of a sequence that is read in windows; nothing is held but sums.

    Parameters
    ----------
    how
        One of :data:`biolm.core.pooling.POOLS`. ``cls`` is the mean of the first tokens of all windows,
        ``last`` the last token of the last.

    Examples
    --------
    >>> pooled = WindowPool("mean")
    >>> pooled.add(torch.zeros(2, 1), torch.tensor([[1.0], [2.0]]))
    >>> pooled.add(torch.zeros(2, 1), torch.tensor([[6.0]]))
    >>> pooled.vector().tolist()
    [3.0]
    """

    def __init__(self, how: str) -> None:
        self._how = how
        self._held: Tensor | None = None
        self._count = 0

    def add(self, window: Tensor, finished: Tensor) -> None:
        """Take the states of a window, special tokens included, and those that it finished.

        Parameters
        ----------
        window
            ``(s, d)`` states of the window, special tokens included.
        finished
            ``(·, d)`` states that the merger gave for it.
        """
        if self._how == "last":
            self._held = window[-1]
            return
        taken = window[:1] if self._how == "cls" else finished
        if not len(taken):
            return
        value = taken.amax(0) if self._how == "max" else taken.sum(0)
        self._count += len(taken)
        if self._held is not None:
            value = torch.maximum(self._held, value) if self._how == "max" else self._held + value
        self._held = value

    def vector(self) -> Tensor:
        """``(d,)`` of the whole sequence."""
        assert self._held is not None
        return self._held / self._count if self._how in ("mean", "cls") else self._held
