"""Encoder states for cross-attention in generation, kept for each sequence's source.

Dimensions: ``u`` tokens of the sources · ``m`` tokens of one · ``t`` new tokens · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.core.cache import packed
from biolm.core.layout import Layout
from biolm.core.seq2seq import EncoderDecoder, cross_layout

__all__ = ["Memory"]


class Memory:
    """Encoder states of the sequences that are being written.

    Parameters
    ----------
    model
        Its encoder reads the sources.
    sources
        Token ids by number of the sequence.
    """

    def __init__(self, model: EncoderDecoder, sources: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._sources = sources
        self._states: dict[int, Tensor] = {}  # (m, d) each
        self._last: tuple[list[int], Tensor, Batch] | None = None

    def _batch(self, names: list[int]) -> Batch:
        device = self._model.encoder.embeddings.token.weight.device
        return packed(names, [self._sources[name] for name in names], [0] * len(names), device)

    def read(self, names: list[int]) -> None:
        """Encode the sources of new sequences."""
        states = self._model.encode(self._batch(names))
        lengths = [len(self._sources[name]) for name in names]
        self._states |= dict(zip(names, torch.split(states, lengths), strict=True))

    def of(self, names: list[int], queries: Batch) -> tuple[Tensor, Layout]:
        """States ``(u, d)`` for a batch of new tokens, and who sees what.

        The same tensor comes back while the sequences stay the same, so that the cache keeps the keys and
        values made of it.

        Parameters
        ----------
        names
            Sequence that each document of the batch goes on with.
        queries
            The batch of new tokens.
        """
        if self._last is None or self._last[0] != names:
            self._last = (names, torch.cat([self._states[name] for name in names]), self._batch(names))
        _, states, batch = self._last
        return states, cross_layout(queries, batch)

    def drop(self, names: Iterable[int]) -> None:
        """Forget finished sequences."""
        for name in names:
            del self._states[name]
