"""What layers remember of earlier tokens, so that a step of generation reads only the new ones.

Sequences of similar length share a slab (:mod:`biolm.core.slabs`) whose capacity is a power of two: one
kernel call serves all of them, nothing is copied at a step, and a short sequence does not pay for a long
one. A sequence that fills its row moves to the slab of twice the capacity. A layer with a window of ``w``
tokens never has more than ``w`` slots: position ``i`` lies in slot ``i mod c``, so old tokens are overwritten
and the memory of the layer is constant. A layer whose state is fixed (:class:`biolm.core.state.FixedState`)
keeps it in the same rows, so it moves with its sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from biolm.batch import Batch
from biolm.core.cache_steps import DecodeStep, LayerStore, PackedStep, Piece, Projected
from biolm.core.slabs import Slab
from biolm.core.state import DecodingState, KeysValues, Store
from biolm.errors import InputError

__all__ = ["DecodingCache", "packed"]

_SMALLEST = 64  # slots of the first slab; fewer would move sequences often and split them over more slabs
_UNBOUNDED = 1 << 62  # tokens a row holds where no layer grows


class DecodingCache:
    """The state of every layer, for sequences that come and go; :meth:`biolm.core.Transformer.new_cache`.

    Parameters
    ----------
    states
        What each layer remembers.
    device
        Of the model.

    Examples
    --------
    >>> from biolm.core import CoreConfig, Transformer
    >>> sizes = {"vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    >>> model = Transformer(CoreConfig(**sizes, causal=True, head="linear"))
    >>> cache = model.new_cache()
    >>> first = model(cache.batch([0, 1], [[1, 2, 3], [4]]), cache=cache)
    >>> second = model(cache.batch([0, 1], [[5], [6]]), cache=cache)  # sees the tokens before
    >>> cache.lengths
    {0: 4, 1: 2}
    """

    def __init__(self, states: Sequence[DecodingState], device: torch.device | str = "cpu") -> None:
        self.lengths: dict[int, int] = {}
        """Tokens seen of each sequence."""
        self._states = states
        self._grows = any(isinstance(state, KeysValues) for state in states)
        self._device = torch.device(device)
        self._slabs: dict[int, Slab] = {}
        self._home: dict[int, tuple[Slab, int]] = {}
        self._projected: dict[int, Projected] = {}
        self._step: tuple[Batch, DecodeStep | PackedStep] | None = None

    @property
    def sequences(self) -> list[int]:
        """All sequences, in the order in which one more token of each is read fastest."""
        return [name for slab in self._slabs.values() for name in slab.sequences]

    @property
    def nbytes(self) -> int:
        """Memory that the states take."""
        return sum(slab.nbytes for slab in self._slabs.values())

    def batch(self, sequences: Sequence[int], pieces: Sequence[Sequence[int]]) -> Batch:
        """The next tokens of some sequences, to be given to the model together with this cache.

        Parameters
        ----------
        sequences
            Numbers of the caller's choice; an unknown one starts a sequence.
        pieces
            Next token ids of each, at least one.

        Raises
        ------
        InputError
            If a piece is empty, or a sequence is named twice.
        """
        if len(sequences) != len(pieces) or len(set(sequences)) != len(sequences):
            raise InputError("the cache wants one piece of tokens for each sequence, each named once")
        if not sequences or not all(len(piece) for piece in pieces):
            raise InputError("a piece of a sequence is empty; leave the sequence out of the batch")
        past = [self.lengths.get(name, 0) for name in sequences]
        counts = [len(piece) for piece in pieces]
        for name, before, count in zip(sequences, past, counts, strict=True):
            self._make_room(name, before + count)
        batch = packed(sequences, pieces, past, self._device)
        homes = [self._home[name] for name in sequences]
        taken = [Piece(*home, p, n) for home, p, n in zip(homes, past, counts, strict=True)]
        whole = batch.max_length == 1 and list(sequences) == self.sequences
        step = DecodeStep(taken) if whole else PackedStep(taken, batch)
        self._step = (batch, step)
        return batch

    def open(self, batch: Batch) -> list[Store]:
        """Where each layer of the coming forward pass keeps and finds its state.

        Raises
        ------
        InputError
            If the batch was not made by :meth:`batch`, or was read already.
        """
        if self._step is None or self._step[0] is not batch:
            raise InputError("a model with a cache reads the batch that cache.batch() has just made")
        step = self._step[1]
        return [LayerStore(step, layer, state, self._projected) for layer, state in enumerate(self._states)]

    def advance(self) -> None:
        """Note that every layer has seen the batch, and make room for one more token of each sequence."""
        assert self._step is not None
        batch, step = self._step
        for name, piece in zip(batch.index.tolist(), step.pieces, strict=True):
            self.lengths[name] = piece.past + piece.new
            self._make_room(name, self.lengths[name] + 1)
        self._step = None

    def drop(self, sequences: Iterable[int]) -> None:
        """Forget sequences.

        Raises
        ------
        InputError
            If the cache holds none of that number.
        """
        for name in list(sequences):
            if name not in self.lengths:
                raise InputError(f"the cache holds no sequence {name}")
            self._leave(name)
            del self.lengths[name]

    def _make_room(self, name: int, length: int) -> None:
        """Let a sequence lie in a row that holds ``length`` tokens."""
        old = self._home.get(name)
        if old is not None and old[0].capacity >= length:
            return
        capacity = max(_SMALLEST, 1 << (length - 1).bit_length()) if self._grows else _UNBOUNDED
        if capacity not in self._slabs:
            self._slabs[capacity] = Slab(capacity, self._states)
        slab = self._slabs[capacity]
        row = slab.add(name)
        if old is not None:
            slab.copy_row(row, *old)
            self._leave(name)
        self._home[name] = (slab, row)

    def _leave(self, name: int) -> None:
        slab, row = self._home.pop(name)
        moved = slab.remove(row)
        if moved is not None:
            self._home[moved] = (slab, row)
        if not slab.sequences:
            del self._slabs[slab.capacity]


def packed(
    sequences: Sequence[int], pieces: Sequence[Sequence[int]], past: Sequence[int], device: torch.device
) -> Batch:
    """Batch of token ids end to end, whose positions begin after those of the ``past``.

    Parameters
    ----------
    sequences
        Numbers of the sequences.
    pieces
        Token ids of each.
    past
        Tokens that each has behind it.
    device
        Of the batch.
    """
    counts = [len(piece) for piece in pieces]
    ends = torch.tensor(counts).cumsum(0)
    if max(counts) == 1:
        positions = torch.tensor(past)
    else:
        positions = torch.cat([torch.arange(p, p + n) for p, n in zip(past, counts, strict=True)])
    ids = torch.tensor([token for piece in pieces for token in piece])
    return Batch(
        ids=ids.to(device),
        offsets=torch.cat((ends.new_zeros(1), ends)).to(device, torch.int32),
        positions=positions.to(device),
        max_length=max(counts),
        index=torch.tensor(sequences, device=device),
    )
