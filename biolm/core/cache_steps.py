"""New tokens against what a cache holds: one token each (decoding), or pieces of any length.

Dimensions: ``t`` new tokens · ``u`` keys · ``n`` sequences of a slab · ``h`` heads · ``j`` key-value heads ·
``g`` heads of one key-value head · ``c`` slots · ``s`` slots in use · ``k`` head width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Batch
from biolm.core.kernels import attend
from biolm.core.layout import Layout, Rule
from biolm.core.positions import PositionBias
from biolm.core.slabs import Slab
from biolm.core.state import DecodingState, FixedState, KeysValues

__all__ = ["DecodeStep", "LayerStore", "PackedStep", "Piece", "Projected"]


class Piece(NamedTuple):
    """New tokens of one sequence: its row, how many tokens it holds, and how many come."""

    slab: Slab
    row: int
    past: int
    new: int


class Projected(NamedTuple):
    """Second stream ``(u, d)``, and its keys and values ``(u, j, k)`` in one layer."""

    memory: Tensor
    key: Tensor
    value: Tensor


class LayerStore:
    """What one layer sees of a step: a :class:`biolm.core.state.Store`."""

    __slots__ = ("_layer", "_projected", "_state", "_step")

    def __init__(
        self, step: DecodeStep | PackedStep, layer: int, state: DecodingState, projected: dict[int, Projected]
    ) -> None:
        self._step, self._layer, self._state, self._projected = step, layer, state, projected

    def read(self) -> dict[str, Tensor]:
        """The fixed state of each sequence of the batch, in its order."""
        assert isinstance(self._state, FixedState)
        parts = self._step.read(self._layer)
        return dict(zip(self._state.start, parts, strict=True))

    def write(self, state: Mapping[str, Tensor]) -> None:
        """Replace it."""
        assert isinstance(self._state, FixedState)
        # A cache that carried gradients would keep every step.
        self._step.write(self._layer, [state[name].detach() for name in self._state.start])

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rule: Rule,
        *,
        bias: PositionBias | None = None,
        kernel: str = "auto",
    ) -> Tensor:
        """Keep keys and values ``(t, j, k)`` and let queries ``(t, h, k)`` see all that are kept."""
        key, value = key.detach(), value.detach()  # a cache that carried gradients would keep every step
        if isinstance(self._step, DecodeStep):
            return self._step.attend(self._layer, query, key, value, rule, bias)
        assert isinstance(self._state, KeysValues)
        return self._step.attend(self._layer, self._state.window, query, key, value, rule, bias, kernel)

    def project(
        self, memory: Tensor, keys_values: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of the second stream; made again only when another tensor is given."""
        known = self._projected.get(self._layer)
        if known is None or known.memory is not memory:
            known = self._projected[self._layer] = Projected(memory, *keys_values(memory))
        return known.key, known.value


class Decode:
    """One new token for each row of a slab: where it goes and what it sees.

    Parameters
    ----------
    past
        Tokens that each row holds.
    kept
        Keys of a layer, ``(n, j, c, k)``.
    """

    def __init__(self, past: list[int], kept: Tensor) -> None:
        slots, device = kept.shape[2], kept.device
        self.rows = len(past)
        self.used = min(max(past) + 1, slots)
        self._slots = slots
        same = min(past) == max(past)
        # Rows of equal length need no index and no mask.
        self.slot = past[0] % slots if same else None
        self._past = torch.tensor(past, device=device)[:, None]  # (n, 1)
        self.mask: Tensor | None = None
        if not same:
            self.index = torch.arange(self.rows, device=device), (self._past % slots).flatten()
            if min(past) + 1 < self.used:
                place = torch.arange(self.used, device=device)
                self.mask = kept.new_zeros((self.rows, 1, 1, self.used))
                self.mask.masked_fill_((place > self._past)[:, None, None], float("-inf"))

    def write(self, kept: Tensor, new: Tensor) -> None:
        """Put ``(n, j, k)`` into ``(n, j, c, k)``.

        Parameters
        ----------
        kept
            ``(n, j, c, k)`` slots of the sequences.
        new
            ``(n, j, k)`` keys or values of one new token each.
        """
        if self.slot is not None:
            kept[: self.rows, :, self.slot] = new
        else:
            kept[self.index[0], :, self.index[1]] = new

    def biased(self, bias: PositionBias, groups: int) -> Tensor:
        """Mask and bias on the scores, ``(n, j, g, s)``.

        Parameters
        ----------
        bias
            Of the layer.
        groups
            Key heads ``j``; each serves ``g`` query heads.
        """
        place = torch.arange(self.used, device=self._past.device)
        # The position that lies in a slot: the last one, not after the query's, with that remainder.
        turns = (self._past - place).div(self._slots, rounding_mode="floor")
        added: Tensor = bias(place + turns * self._slots - self._past).transpose(0, 1)  # (n, h, s)
        added = added.unflatten(1, (groups, -1))  # type: ignore[no-untyped-call]
        return added if self.mask is None else added + self.mask


class DecodeStep:
    """One token for every sequence of a cache, in its own order; a kernel call for each slab."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces
        self._slabs: list[tuple[Slab, list[int]]] = []
        for piece in pieces:
            if not self._slabs or self._slabs[-1][0] is not piece.slab:
                self._slabs.append((piece.slab, []))
            self._slabs[-1][1].append(piece.past)
        self._views: dict[tuple[int, int], Decode] = {}
        self._biased: dict[tuple[int, int], Tensor] = {}

    def read(self, layer: int) -> list[Tensor]:
        """Fixed state of all sequences, ``(b, ...)`` for each part; a view where they share a slab."""
        by_slab = [[part[: len(past)] for part in slab.held[layer]] for slab, past in self._slabs]
        return by_slab[0] if len(by_slab) == 1 else [torch.cat(parts) for parts in zip(*by_slab, strict=True)]

    def write(self, layer: int, parts: list[Tensor]) -> None:
        """Replace it.

        Parameters
        ----------
        layer
            Its number.
        parts
            New state of each part, in order.
        """
        start = 0
        for slab, past in self._slabs:
            for cached, new in zip(slab.held[layer], parts, strict=True):
                cached[: len(past)] = new[start : start + len(past)]
            start += len(past)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, rule: Rule, bias: PositionBias | None
    ) -> Tensor:
        """``(t, h, k)``; the slots in use are exactly those that the mask of the rule allows.

        Parameters
        ----------
        layer
            Its number.
        query
            ``(t, h, k)``.
        key, value
            ``(t, j, k)`` of the new tokens, which are kept.
        rule
            Who sees whom.
        bias
            Added to the scores.
        """
        parts = []
        start = 0
        for number, (slab, past) in enumerate(self._slabs):
            keys, values = slab.held[layer]
            name = (number, keys.shape[2])
            view = self._views.get(name)
            if view is None:
                view = self._views[name] = Decode(past, keys)
            mine = slice(start, start + view.rows)
            view.write(keys, key[mine])
            view.write(values, value[mine])
            mask = view.mask
            if bias is not None:
                if name not in self._biased:
                    self._biased[name] = view.biased(bias, key.shape[1]).to(query.dtype)
                mask = self._biased[name]
            kept = keys[: view.rows, :, : view.used], values[: view.rows, :, : view.used]
            parts.append(_attend_one(query[mine], *kept, mask, rule))
            start = mine.stop
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_one(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, rule: Rule) -> Tensor:
    """One query ``(n, h, k)`` a row against ``(n, j, s, k)``."""
    # Heads that share keys stand where a kernel expects queries: no copy of the keys is made.
    grouped = query.unflatten(1, (keys.shape[1], -1))  # type: ignore[no-untyped-call]  # (n, j, g, k)
    if rule.softcap is None:
        mixed = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=rule.scale)
        return mixed.flatten(1, 2)
    scores = (grouped @ keys.transpose(2, 3)).float() * rule.scale  # (n, j, g, s)
    scores = rule.softcap * torch.tanh(scores / rule.softcap)
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    return (weights.to(values.dtype) @ values).flatten(1, 2)


class PackedStep:
    """Pieces of any length: earlier keys and new ones of each sequence are laid end to end."""

    def __init__(self, pieces: list[Piece], batch: Batch) -> None:
        self.pieces = pieces
        self._batch = batch
        self._layouts: dict[int, Layout] = {}

    def read(self, layer: int) -> list[Tensor]:
        """Fixed state of the sequences of the batch, ``(b, ...)`` for each part."""
        rows = [[part[piece.row] for part in piece.slab.held[layer]] for piece in self.pieces]
        return [torch.stack(parts) for parts in zip(*rows, strict=True)]

    def write(self, layer: int, parts: list[Tensor]) -> None:
        """Replace it."""
        for number, piece in enumerate(self.pieces):
            for cached, new in zip(piece.slab.held[layer], parts, strict=True):
                cached[piece.row] = new[number]

    def attend(
        self,
        layer: int,
        window: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rule: Rule,
        bias: PositionBias | None,
        kernel: str,
    ) -> Tensor:
        """``(t, h, k)``.

        Parameters
        ----------
        layer
            Its number.
        window
            Tokens that a query looks back; None for all.
        query
            ``(t, h, k)``.
        key, value
            ``(t, j, k)`` of the new tokens, which are kept.
        rule
            Who sees whom.
        bias
            Added to the scores.
        kernel
            As of :func:`biolm.core.kernels.attend`.
        """
        if window not in self._layouts:
            self._layouts[window] = self._layout(window)
        keys, values = self._with_past(layer, window, key, value)
        mixed = attend(query, keys, values, self._layouts[window], rule, bias=bias, kernel=kernel)
        start = 0
        for piece in self.pieces:
            end = start + piece.new
            for kept, new in zip(piece.slab.held[layer], (key, value), strict=True):
                _write(kept[piece.row], new[start:end], piece.past)
            start = end
        return mixed

    def _with_past(self, layer: int, window: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if not any(piece.past for piece in self.pieces):
            return key, value
        out: tuple[list[Tensor], list[Tensor]] = ([], [])
        start = 0
        for piece in self.pieces:
            end = start + piece.new
            for parts, kept, new in zip(out, piece.slab.held[layer], (key, value), strict=True):
                parts += [_read(kept[piece.row], _first(piece.past, window), piece.past), new[start:end]]
            start = end
        return torch.cat(out[0]), torch.cat(out[1])

    def _layout(self, window: int) -> Layout:
        batch = self._batch
        firsts = [_first(piece.past, window) for piece in self.pieces]
        ends = [piece.past + piece.new for piece in self.pieces]
        if not any(piece.past for piece in self.pieces):
            return Layout.of(batch.offsets, batch.positions, batch.max_length)
        seen = [end - first for first, end in zip(firsts, ends, strict=True)]
        device = batch.ids.device
        places = torch.cat([torch.arange(*span) for span in zip(firsts, ends, strict=True)])
        offsets = torch.tensor([0, *seen]).cumsum(0)
        return Layout(
            batch.offsets,
            offsets.to(device, torch.int32),
            batch.positions,
            places.to(device),
            batch.max_length,
            max(seen),
        )


def _first(past: int, window: int) -> int:
    """Earliest token that the first new one sees."""
    return max(0, past - window + 1) if window else 0


def _read(row: Tensor, first: int, past: int) -> Tensor:
    """Tokens ``first`` to ``past`` of a row ``(j, c, k)``, as ``(p, j, k)``."""
    if past <= row.shape[1]:
        return row[:, first:past].transpose(0, 1)
    slots = torch.arange(first, past, device=row.device) % row.shape[1]
    return row.index_select(1, slots).transpose(0, 1)


def _write(row: Tensor, new: Tensor, past: int) -> None:
    """Put new tokens ``(p, j, k)`` into a row ``(j, c, k)``; of more than it holds, the last ones."""
    slots = row.shape[1]
    skipped = max(0, len(new) - slots)
    place = torch.arange(past + skipped, past + len(new), device=row.device) % slots
    row.index_copy_(1, place, new[skipped:].transpose(0, 1))
