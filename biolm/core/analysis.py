"""Where attention goes, layer by layer: how spread it is, and how far down the document it looks.

Dimensions: ``l`` layers · ``h`` heads · ``s`` tokens of one document.

For documents in rank order (Geneformer's genes) the place of a token is its rank, so the mean attended
place tells whether a head dwells on the highest expressed genes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.core.model import Transformer

__all__ = ["AttentionProfile", "attention_profile"]


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
    layers: list[Tensor] = []

    def receive(maps: tuple[Tensor, ...]) -> None:
        inner = [_inner(weights, skip) for weights in maps]
        figures = [_figures(weights) for weights in inner if weights.shape[-1] > 1]
        layers.append(torch.stack(figures).mean(0) if figures else torch.empty(0))  # (4, h)

    with torch.inference_mode():
        model(batch, logits=False, attentions=receive)
    count = int((batch.lengths - sum(skip) > 1).sum())
    stacked = torch.stack(layers) if count else torch.zeros(len(layers), 4, model.config.n_heads)
    entropy, entropy_share, mean_rank, rank_share = stacked.unbind(1)
    return AttentionProfile(entropy, entropy_share, mean_rank, rank_share, count)


def _inner(weights: Tensor, skip: tuple[int, int]) -> Tensor:
    """Weights ``(h, s, s)`` without the skipped tokens on either side."""
    end = weights.shape[-1] - skip[1]
    return weights[:, skip[0] : end, skip[0] : end]


def _figures(weights: Tensor) -> Tensor:
    """The four figures of one document, ``(4, h)``."""
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    length = weights.shape[-1]
    entropy = torch.special.entr(weights).sum(-1).mean(-1)  # (h,)
    place = torch.arange(length, dtype=weights.dtype, device=weights.device)
    rank = (weights @ place).mean(-1)  # (h,)
    fraction = entropy / torch.tensor(float(length)).log()
    return torch.stack((entropy, fraction, rank, rank / (length - 1)))
