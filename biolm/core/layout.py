"""Which tokens may see which: the document layout of one forward pass.

Dimensions: ``t`` query tokens · ``u`` key tokens · ``b`` documents · ``q``, ``s`` queries and keys of
one document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

__all__ = ["Layout", "Rule", "visible"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What attention of one layer allows, and how it scores.

    Soft caps of scores are Gemma 2's (Riviere et al. 2024).

    Parameters
    ----------
    causal
        Keys after the query are hidden.
    window
        0: none. Causal: keys of the last ``window`` tokens, the query's own included; otherwise at most
        ``window`` tokens to each side.
    scale
        Multiplies the scores.
    softcap
        Scores become ``softcap * tanh(score / softcap)``.
    dropout
        Fraction of attention weights dropped in training.
    """

    causal: bool = False
    window: int = 0
    scale: float = 1.0
    softcap: float | None = None
    dropout: float = 0.0

    @property
    def full(self) -> bool:
        """Whether every key of the document is visible."""
        return not self.causal and not self.window


def visible(rule: Rule, distance: Tensor) -> Tensor:
    """Whether a key at ``distance`` = key place − query place is seen; any shape.

    Parameters
    ----------
    rule
        What a token may attend to.
    distance
        Key place less query place.
    """
    if rule.causal:
        seen = distance <= 0
        return seen & (distance > -rule.window) if rule.window else seen
    return distance.abs() <= rule.window if rule.window else torch.ones_like(distance, dtype=torch.bool)


@dataclass(frozen=True)
class Layout:
    """Documents of the queries and of the keys, packed end to end.

    Parameters
    ----------
    q_offsets, k_offsets
        ``(b + 1,)`` int32 starts of each document among the queries and the keys.
    q_positions, k_positions
        ``(t,)`` and ``(u,)`` places in the document.
    max_q, max_k
        Longest document of each side.
    private
        ``(u,)`` keys that only their own query sees, in self-attention; None for none.
    """

    q_offsets: Tensor
    k_offsets: Tensor
    q_positions: Tensor
    k_positions: Tensor
    max_q: int
    max_k: int
    private: Tensor | None = None
    # Masks and biases are the same for every layer of a pass, so kernels keep them here.
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, offsets: Tensor, positions: Tensor, max_length: int, private: Tensor | None = None) -> Layout:
        """Self-attention: queries and keys are the same tokens.

        Parameters
        ----------
        offsets
            ``(b + 1,)`` where documents begin and end.
        positions
            ``(t,)`` position of each token.
        max_length
            Tokens of the longest document.
        private
            ``(t,)`` tokens that only see themselves and are seen by none; None for none.
        """
        return cls(offsets, offsets, positions, positions, max_length, max_length, private)

    def asking(self, rows: Tensor) -> Layout:
        """Self-attention of which only the queries ``rows (m,)``, ascending, are wanted."""
        offsets = torch.searchsorted(rows, self.q_offsets.long()).int()
        # The longest document bounds the queries of one: counting them would make a GPU wait.
        return replace(
            self,
            q_offsets=offsets,
            q_positions=self.q_positions[rows],
            max_q=min(self.max_q, len(rows)),
            cache={},
        )

    @property
    def same(self) -> bool:
        """Whether queries and keys are the same tokens."""
        return self.q_offsets is self.k_offsets

    @cached_property
    def spans(self) -> list[tuple[int, int, int, int]]:
        """Start and end of each document's queries and keys, on the host."""
        q = self.q_offsets.tolist()
        k = q if self.same else self.k_offsets.tolist()
        return list(zip(q[:-1], q[1:], k[:-1], k[1:], strict=True))

    def groups(self, *, masked: bool = True) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
        """Runs of neighbouring documents of equal lengths, for one kernel call each.

        Parameters
        ----------
        masked
            Off where no mask or bias depends on places, so that two streams of equal lengths are alike too.

        Yields
        ------
        The number of documents, and the span of all of them. Documents without queries are left out.
        """
        start = 0
        for i, (q0, q1, k0, k1) in enumerate(self.spans):
            after = self.spans[i + 1] if i + 1 < len(self.spans) else None
            # Only in self-attention do equally long documents also have equal places, so one mask.
            alike = (self.same or not masked) and self.private is None
            if alike and after is not None:
                next_lengths = after[1] - after[0], after[3] - after[2]
                if (q1 - q0, k1 - k0) == next_lengths:
                    continue
            if q1 > q0:
                yield i + 1 - start, (self.spans[start][0], q1, self.spans[start][2], k1)
            start = i + 1

    def distance(self, span: tuple[int, int, int, int]) -> Tensor:
        """``(q, s)`` key place − query place of one document."""
        q0, q1, k0, k1 = span
        return self.k_positions[None, k0:k1] - self.q_positions[q0:q1, None]

    def hidden(self, rule: Rule, span: tuple[int, int, int, int]) -> Tensor | None:
        """``(q, s)`` which keys of one document are not seen; None where all are.

        Parameters
        ----------
        rule
            Who sees whom.
        span
            Begin and end of the document's queries and of its keys; one of :attr:`spans`.
        """
        if rule.full and self.private is None:
            return None
        distance = self.distance(span)
        hidden = ~visible(rule, distance)
        if self.private is not None:
            hidden |= self.private[None, span[2] : span[3]] & (distance != 0)
        return hidden

    @cached_property
    def q_documents(self) -> Tensor:
        """``(t,)`` document number of each query."""
        return _documents(self.q_offsets)

    @cached_property
    def k_documents(self) -> Tensor:
        """``(u,)`` document number of each key."""
        return self.q_documents if self.same else _documents(self.k_offsets)


def _documents(offsets: Tensor) -> Tensor:
    lengths = (offsets[1:] - offsets[:-1]).long()
    return torch.repeat_interleave(torch.arange(len(lengths), device=offsets.device), lengths)
