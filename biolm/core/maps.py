"""Attention maps, whole or some queries at a time.

Dimensions: ``h`` heads · ``q`` queries · ``s`` tokens of a document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["MapPieces", "Receive", "leading", "mean_over_heads", "pieces_of"]

Receive = Callable[[tuple[Any, ...]], None]
"""Takes the maps of the documents of a batch, layer by layer: ``(h, q, s)`` or :class:`MapPieces`."""


class MapPieces(NamedTuple):
    """The attention map of a document that is too long for one tensor.

    Parameters
    ----------
    shape
        ``(h, s, s)``.
    pieces
        Makes the maps ``(h, q, s)`` of some queries after the others.
    """

    shape: tuple[int, int, int]
    pieces: Callable[[], Iterator[Tensor]]


def pieces_of(weights: Tensor | MapPieces) -> Iterator[Tensor]:
    """The map of some queries at a time; a tensor is one piece."""
    return iter((weights,)) if isinstance(weights, Tensor) else weights.pieces()


def mean_over_heads(weights: Tensor | MapPieces) -> Tensor:
    """Mean ``(q, s)`` of a map over its heads.

    Examples
    --------
    >>> mean_over_heads(torch.ones(2, 3, 3)).shape
    torch.Size([3, 3])
    """
    return torch.cat([piece.mean(0) for piece in pieces_of(weights)])


def leading(weights: Tensor | MapPieces, count: int) -> Tensor | MapPieces:
    """The map between the first tokens of a document.

    Parameters
    ----------
    weights
        A map ``(h, s, s)``.
    count
        Of tokens that are kept.
    """
    if isinstance(weights, Tensor):
        return weights[:, :count, :count]

    def pieces() -> Iterator[Tensor]:
        start = 0
        for piece in weights.pieces():
            yield piece[:, : max(count - start, 0), :count]
            start += piece.shape[1]

    return MapPieces((weights.shape[0], count, count), pieces)
