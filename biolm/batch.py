"""The types that pass between packages: packed tokens, packed batches, packed outputs.

Dimensions: ``n`` examples of a block · ``b`` examples of a batch · ``t`` tokens of all of them end to
end · ``s`` longest example · ``d`` width · ``v`` vocabulary · ``h`` heads.

There is no padding inside biolm. Adapters make :class:`Tokens` (numpy, so that tokenising never
imports torch), :func:`pack` cuts them into :class:`Batch` objects of a token budget, the core turns a
``Batch`` into an :class:`Output`. Padded tensors appear only in :meth:`Batch.from_padded` and
:meth:`Output.to_padded`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Batch", "Example", "Output", "Tokens", "pack"]


class Example(NamedTuple):
    """One cell, sequence or sentence as tokens.

    ``ids (t,)``; ``values (t,)`` bins or expression where the model reads them; ``index`` is the
    caller's row number.
    """

    ids: NDArray[np.int32]
    values: NDArray[Any] | None
    index: int  # type: ignore[assignment]  # hides the tuple's method of that name, which nobody needs here


@dataclass(frozen=True, slots=True)
class Tokens:
    """Many examples end to end, as numpy arrays.

    Parameters
    ----------
    ids
        ``(t,)`` int32 token ids.
    offsets
        ``(n + 1,)`` int64; example ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
    index
        ``(n,)`` int64 row numbers in the caller's table.
    values
        ``(t,)`` bins (integer) or expression (float32), where the model reads them.
    segments
        ``(t,)`` int32 token-type ids, where the model reads them.

    Examples
    --------
    >>> tokens = Tokens(ids=np.array([5, 6, 7], np.int32), offsets=np.array([0, 1, 3]),
    ...                 index=np.array([0, 1]))
    >>> tokens[1].ids.tolist()
    [6, 7]
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    index: NDArray[np.int64]
    values: NDArray[Any] | None = None
    segments: NDArray[np.int32] | None = None

    @classmethod
    def joined(
        cls,
        ids: Sequence[Any],
        index: NDArray[np.int64],
        *,
        values: Sequence[Any] | None = None,
        segments: Sequence[Any] | None = None,
        value_type: Any = np.float32,
    ) -> Tokens:
        """Examples that were made one by one, end to end.

        Parameters
        ----------
        ids
            Token ids of each example.
        index
            ``(n,)`` row numbers.
        values, segments
            Of each example, as long as its ids.
        value_type
            Number type of the values.

        Examples
        --------
        >>> Tokens.joined([[5], [], [6, 7]], np.arange(3)).offsets.tolist()
        [0, 1, 1, 3]
        """

        def flat(parts: Sequence[Any], kind: Any) -> NDArray[Any]:
            # np.concatenate takes no empty list.
            return (np.concatenate(parts) if len(parts) else np.zeros(0)).astype(kind)

        return cls(
            ids=flat(ids, np.int32),
            offsets=np.cumsum([0, *map(len, ids)]),
            index=index,
            values=None if values is None else flat(values, value_type),
            segments=None if segments is None else flat(segments, np.int32),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Example:
        span = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        values = None if self.values is None else self.values[span]
        return Example(self.ids[span], values, int(self.index[row]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(n,)`` tokens of each example."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.intp] | Sequence[int]) -> Tokens:
        """The examples ``rows``, in that order."""
        rows = np.asarray(rows, dtype=np.intp)
        lengths = self.lengths[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        # Position k of the result lies at its example's old start plus its place inside the example.
        gather = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Tokens(
            ids=self.ids[gather],
            offsets=offsets,
            index=self.index[rows],
            values=None if self.values is None else self.values[gather],
            segments=None if self.segments is None else self.segments[gather],
        )


def pack(tokens: Tokens, budget: int) -> Iterator[NDArray[np.intp]]:
    """Group examples of similar length into batches of at most ``budget`` tokens.

    An example longer than the budget makes a batch of its own. Examples are sorted by (length, row),
    so the grouping depends on nothing but the lengths.

    Parameters
    ----------
    tokens
        Of the examples.
    budget
        Most tokens of a batch.

    Yields
    ------
    Row numbers into ``tokens`` of one batch; together they cover every example once.
    """
    if budget < 1:
        raise InputError(f"batch tokens must be at least 1, not {budget}")
    # Long ones first: what does not fit the memory fails in the first batch, not after an hour.
    order = np.argsort(-tokens.lengths, kind="stable")
    ends = np.cumsum(tokens.lengths[order])
    start, used = 0, 0
    while start < len(order):
        # One example at least, also where it alone is over the budget.
        stop = max(start + 1, int(np.searchsorted(ends, used + budget, side="right")))
        yield order[start:stop]
        start, used = stop, int(ends[stop - 1])


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens of ``b`` examples end to end, as the core reads them.

    Parameters
    ----------
    ids
        ``(t,)`` int64 token ids.
    offsets
        ``(b + 1,)`` int32 cumulative lengths (``cu_seqlens``).
    positions
        ``(t,)`` int64 place of each token in its own example, from 0.
    max_length
        Length of the longest example.
    index
        ``(b,)`` int64 row numbers of the caller.
    values, segments
        ``(t,)`` optional bins or expression values, and token types.
    layout
        Where the tokens lay in the padded tensor the batch was made from: flat places ``(t,)`` and
        the shape ``(b, s)``. None for batches made packed.
    private
        ``(t,)`` tokens that only they themselves may attend to, such as genes whose values are still to be
        generated (scGPT); None for none.
    """

    ids: Tensor
    offsets: Tensor
    positions: Tensor
    max_length: int
    index: Tensor
    values: Tensor | None = None
    segments: Tensor | None = None
    layout: tuple[Tensor, tuple[int, int]] | None = None
    private: Tensor | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """``(b,)`` tokens of each example."""
        return self.offsets[1:] - self.offsets[:-1]

    @classmethod
    def from_tokens(cls, tokens: Tokens, rows: NDArray[np.intp] | Sequence[int] | None = None) -> Batch:
        """Batch of the examples ``rows`` of a token block (all of them by default).

        Parameters
        ----------
        tokens
            Packed examples.
        rows
            ``(b,)`` numbers of the examples, in the order of the batch; None for all.
        """
        import torch

        part = tokens if rows is None else tokens.take(rows)
        lengths = part.lengths
        # From 0 in every example: packing must not move a token in the eyes of the model.
        positions = np.arange(len(part.ids)) - np.repeat(part.offsets[:-1] - part.offsets[0], lengths)
        values, segments = (
            None if column is None else torch.from_numpy(np.ascontiguousarray(column))
            for column in (part.values, part.segments)
        )
        return cls(
            ids=torch.from_numpy(part.ids.astype(np.int64)),
            offsets=torch.from_numpy((part.offsets - part.offsets[0]).astype(np.int32)),
            positions=torch.from_numpy(positions),
            max_length=int(lengths.max(initial=0)),
            index=torch.from_numpy(part.index.astype(np.int64)),
            values=values,
            segments=segments,
        )

    @classmethod
    def from_padded(
        cls,
        ids: Tensor,
        mask: Tensor | None = None,
        *,
        values: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Batch:
        """Pack a padded batch.

        Parameters
        ----------
        ids
            ``(b, s)`` token ids.
        mask
            ``(b, s)``, non-zero = keep; padding may lie on either side. All kept by default.
        values, segments
            ``(b, s)`` optional columns.

        Raises
        ------
        InputError
            If shapes differ.

        Examples
        --------
        >>> import torch
        >>> batch = Batch.from_padded(torch.tensor([[7, 8], [9, 0]]), torch.tensor([[1, 1], [1, 0]]))
        >>> batch.ids.tolist(), batch.offsets.tolist()
        ([7, 8, 9], [0, 2, 3])
        """
        import torch

        keep = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        for name, column in (("mask", keep), ("values", values), ("segments", segments)):
            if column is not None and column.shape != ids.shape:
                raise InputError(f"{name} has shape {tuple(column.shape)} but ids {tuple(ids.shape)}")
        offsets = torch.zeros(len(ids) + 1, dtype=torch.int32, device=ids.device)
        offsets[1:] = keep.sum(1).cumsum(0)
        return cls(
            ids=ids[keep].long(),
            offsets=offsets,
            positions=(keep.long().cumsum(1) - 1)[keep],
            max_length=int(keep.sum(1).max()) if len(ids) else 0,
            index=torch.arange(len(ids), device=ids.device),
            values=None if values is None else values[keep],
            segments=None if segments is None else segments[keep],
            layout=(keep.flatten().nonzero().flatten(), (ids.shape[0], ids.shape[1])),
        )

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {
            name: None if column is None else column.to(device, non_blocking=True)
            for name, column in (
                ("ids", self.ids),
                ("offsets", self.offsets),
                ("positions", self.positions),
                ("index", self.index),
                ("values", self.values),
                ("segments", self.segments),
                ("private", self.private),
            )
        }
        layout = None if self.layout is None else (self.layout[0].to(device), self.layout[1])
        return replace(self, **moved, layout=layout)  # type: ignore[arg-type]  # names match the fields

    def pad(self, column: Tensor) -> Tensor:
        """Spread a packed ``(t, ·)`` column to ``(b, s, ·)``, zeros where nothing lies."""
        if self.layout is None:
            shape = (len(self), self.max_length)
            document = _documents(self)
            places = document * self.max_length + self.positions
        else:
            places, shape = self.layout
        flat = column.new_zeros((shape[0] * shape[1], *column.shape[1:]))
        flat[places] = column
        return flat.view(*shape, *column.shape[1:])


def _documents(batch: Batch) -> Tensor:
    """``(t,)`` number of the example that each token belongs to."""
    import torch

    return torch.repeat_interleave(torch.arange(len(batch), device=batch.ids.device), batch.lengths.long())


@dataclass(frozen=True, slots=True)
class Output:
    """What the core returns: packed by default, padded after :meth:`to_padded`.

    Parameters
    ----------
    last_hidden_state
        ``(t, d)`` after the final norm, or ``(b, s, d)`` padded.
    logits
        ``(t, v)`` where the model has a head and it was asked for.
    hidden_states
        On request, ``n_layers + 1`` tensors ``(t, d)``: embeddings, then each layer.
    attentions
        On request, by layer: one ``(h, s_i, s_i)`` map for each example.
    batch
        The batch the output belongs to.
    rows
        ``(m,)`` the tokens whose states and logits are given, where only some were asked for: states are
        ``(m, d)`` then.
    """

    last_hidden_state: Tensor
    batch: Batch
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[tuple[Tensor, ...], ...] | None = None
    rows: Tensor | None = None

    def states(self, rows: Tensor) -> Tensor:
        """Last states of some tokens, of those that were asked for: ``(m, d)``."""
        return self.last_hidden_state[rows] if self.rows is None else self.last_hidden_state

    def to_padded(self) -> Output:
        """The same fields as ``(b, s, ·)`` tensors, zeros where the mask was 0.

        Raises
        ------
        InputError
            If only some tokens were asked for.
        """
        if self.rows is not None:
            raise InputError("states of some tokens only cannot be padded; ask for all")
        pad = self.batch.pad
        return replace(
            self,
            last_hidden_state=pad(self.last_hidden_state),
            logits=None if self.logits is None else pad(self.logits),
            hidden_states=None if self.hidden_states is None else tuple(map(pad, self.hidden_states)),
        )
