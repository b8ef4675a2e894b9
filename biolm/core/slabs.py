"""Storage of keys and values: rows of equal capacity share a tensor.

Dimensions: ``n`` rows · ``j`` key-value heads · ``c`` slots · ``k`` head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Slab"]


class Slab:
    """Rows that hold up to ``capacity`` tokens each, ``(n, j, c, k)`` keys and values for every layer.

    Parameters
    ----------
    capacity
        Tokens a row holds; layers with a smaller window hold that many.
    windows
        Window of each layer, 0 for none.
    like
        An empty tensor ``(j, k)`` of the number type and device wanted.
    """

    def __init__(self, capacity: int, windows: Sequence[int], like: Tensor) -> None:
        self.capacity = capacity
        self.sequences: list[int] = []
        """Which sequence each row belongs to."""
        self.held: list[tuple[Tensor, Tensor]] = []
        heads, width = like.shape
        for window in windows:
            slots = min(capacity, window) if window else capacity
            empty = like.new_zeros((0, heads, slots, width))
            self.held.append((empty, empty))

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return sum(part.numel() * part.element_size() for pair in self.held for part in pair)

    def add(self, sequence: int) -> int:
        """Give a sequence a row; returns its number."""
        row = len(self.sequences)
        self.sequences.append(sequence)
        for layer, (keys, values) in enumerate(self.held):
            if row == len(keys):
                more = max(1, row // 2)  # growing by a share keeps the copying linear
                self.held[layer] = _grown(keys, more), _grown(values, more)
        return row

    def remove(self, row: int) -> int | None:
        """Free a row by moving the last one there; returns the sequence that moved, if one did."""
        last = len(self.sequences) - 1
        moved = self.sequences.pop()
        if row == last:
            return None
        self.sequences[row] = moved
        for keys, values in self.held:
            keys[row], values[row] = keys[last], values[last]
        return moved

    def copy_row(self, row: int, source: Slab, source_row: int) -> None:
        """Take over a row of a smaller slab.

        A slot keeps its number: it has been used twice only in layers whose window, and so whose slots, stay.
        """
        for mine, theirs in zip(self.held, source.held, strict=True):
            for new, old in zip(mine, theirs, strict=True):
                new[row, :, : old.shape[2]] = old[source_row]


def _grown(part: Tensor, rows: int) -> Tensor:
    # Zeros, not garbage: a masked slot still takes part in products, where NaN would spread.
    return torch.cat((part, part.new_zeros((rows, *part.shape[1:]))))
