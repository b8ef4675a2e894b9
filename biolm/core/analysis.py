"""Where attention goes, layer by layer: how spread it is, and how far down the document it looks.

Dimensions: ``l`` layers · ``h`` heads · ``s`` tokens of one document.

For documents in rank order (Geneformer's genes) the place of a token is its rank, so the mean attended
place tells whether a head dwells on the highest expressed genes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.core.maps import MapPieces, Receive, pieces_of
from biolm.core.model import Transformer

__all__ = ["AttentionProfile", "attention_profile", "profile_maps"]


@dataclass(frozen=True, slots=True)
class AttentionProfile:
    """Means over queries, then over documents; each ``(l, h)``.

    Parameters
    ----------
    entropy
        Of the attention weights, in nats: 0 for one token, ``log s`` for all alike.
    entropy_share
        Entropy over ``log s``.
    mean_rank
        Attended place, weighted by attention, from 0.
    rank_share
        Attended place over ``s - 1``: 0.5 for attention to all alike.
    documents
        How many were averaged.
    """

    entropy: Tensor
    entropy_share: Tensor
    mean_rank: Tensor
    rank_share: Tensor
    documents: int


def attention_profile(
    model: Transformer, batch: Batch, *, skip: tuple[int, int] = (0, 0)
) -> AttentionProfile:
    """Profile the attention of every layer and head over the documents of a batch.

    Maps are reduced layer by layer, so memory holds those of one layer.

    Parameters
    ----------
    model
        The core.
    batch
        Packed tokens; documents of fewer than two tokens after ``skip`` are left out.
    skip
        Tokens at the start and the end (cls, eos) that are neither query nor key here; the weights of
        the others are scaled to sum to 1.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> model = Transformer(CoreConfig(vocab_size=9, d_model=8, n_layers=2, n_heads=4, d_ff=8))
    >>> attention_profile(model, Batch.from_padded(torch.arange(6)[None])).entropy.shape
    torch.Size([2, 4])
    """
    return profile_maps(lambda receive: model(batch, logits=False, attentions=receive), skip=skip)


def profile_maps(run: Callable[[Receive], object], *, skip: tuple[int, int] = (0, 0)) -> AttentionProfile:
    """Profile the maps of any model.

    Parameters
    ----------
    run
        Runs the model and calls its argument with the maps of the documents, a layer at a time.
    skip
        As of :func:`attention_profile`.
    """
    layers: list[Tensor] = []
    documents = 0

    def receive(maps: tuple[Tensor | MapPieces, ...]) -> None:
        nonlocal documents
        long = [weights for weights in maps if weights.shape[-1] - sum(skip) > 1]
        documents = len(long)
        empty = torch.zeros(4, maps[0].shape[0] if maps else 0)
        layers.append(torch.stack([_figures(weights, skip) for weights in long]).mean(0) if long else empty)

    with torch.inference_mode():
        run(receive)
    entropy, entropy_share, mean_rank, rank_share = torch.stack(layers).unbind(1)
    return AttentionProfile(entropy, entropy_share, mean_rank, rank_share, documents)


def _figures(weights: Tensor | MapPieces, skip: tuple[int, int]) -> Tensor:
    """The four figures ``(4, h)`` of one document, without the skipped tokens on either side."""
    end, queries = weights.shape[2] - skip[1], weights.shape[1] - skip[1]
    length, start = end - skip[0], 0
    sums: list[Tensor] = []
    for piece in pieces_of(weights):
        own = piece[:, max(skip[0] - start, 0) : max(queries - start, 0), skip[0] : end]
        start += piece.shape[1]
        own = own / own.sum(-1, keepdim=True).clamp(min=torch.finfo(own.dtype).tiny)
        place = torch.arange(length, dtype=own.dtype, device=own.device)
        sums.append(torch.stack((torch.special.entr(own).sum((1, 2)), (own @ place).sum(1))))
    entropy, rank = torch.stack(sums).sum(0) / (queries - skip[0])  # (h,)
    share = entropy / torch.tensor(float(length)).log()
    return torch.stack((entropy, share, rank, rank / (length - 1)))
