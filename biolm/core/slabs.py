"""Storage of decoding states: rows of equal capacity share a tensor.

Dimensions: ``n`` rows · ``j`` key-value heads · ``c`` slots · ``k`` head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from biolm.core.state import DecodingState, FixedState

__all__ = ["Slab"]


class Slab:
    """Rows that hold up to ``capacity`` tokens each, for every layer.

    A layer that grows has keys and values ``(n, j, c, k)``; one of fixed state a tensor ``(n, ...)`` for each
    of its parts.

    Parameters
    ----------
    capacity
        Tokens a row holds; layers with a smaller window hold that many.
    states
        What each layer remembers.
    """

    def __init__(self, capacity: int, states: Sequence[DecodingState]) -> None:
        self.capacity = capacity
        self.states = states
        self.sequences: list[int] = []
        """Which sequence each row belongs to."""
        self.held: list[tuple[Tensor, ...]] = []
        for state in states:
            if isinstance(state, FixedState):
                parts = [start.new_empty((0, *start.shape)) for start in state.start.values()]
                self.held.append(tuple(parts))
                continue
            heads, width = state.like.shape
            slots = min(capacity, state.window) if state.window else capacity
            empty = state.like.new_zeros((0, heads, slots, width))
            self.held.append((empty, empty))

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return sum(part.numel() * part.element_size() for pair in self.held for part in pair)

    def add(self, sequence: int) -> int:
        """Give a sequence a row in its start state; returns its number."""
        row = len(self.sequences)
        self.sequences.append(sequence)
        for layer, parts in enumerate(self.held):
            if parts and row == len(parts[0]):
                more = max(1, row // 2)  # growing by a part keeps the copying linear
                parts = self.held[layer] = tuple(_grown(part, more) for part in parts)
            state = self.states[layer]
            if isinstance(state, FixedState):
                for part, start in zip(parts, state.start.values(), strict=True):
                    part[row] = start
        return row

    def remove(self, row: int) -> int | None:
        """Free a row by moving the last one there; returns the sequence that moved, if one did."""
        last = len(self.sequences) - 1
        moved = self.sequences.pop()
        if row == last:
            return None
        self.sequences[row] = moved
        for parts in self.held:
            for part in parts:
                part[row] = part[last]
        return moved

    def copy_row(self, row: int, source: Slab, source_row: int) -> None:
        """Take over a row of a smaller slab.

        A slot keeps its number: it has been used twice only in layers whose window, and so whose slots, stay.

        Parameters
        ----------
        row
            Of this slab.
        source
            Another slab with as many or fewer slots.
        source_row
            Its row.
        """
        for state, mine, theirs in zip(self.states, self.held, source.held, strict=True):
            for new, old in zip(mine, theirs, strict=True):
                if isinstance(state, FixedState):
                    new[row] = old[source_row]
                else:
                    new[row, :, : old.shape[2]] = old[source_row]


def _grown(part: Tensor, rows: int) -> Tensor:
    # Zeros, not garbage: a masked slot still takes part in products, where NaN would spread.
    return torch.cat((part, part.new_zeros((rows, *part.shape[1:]))))
