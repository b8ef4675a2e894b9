"""Contacts from attention: symmetrised maps, the background taken out, a weight for each head.

Dimensions: ``l`` layers · ``h`` heads · ``s`` tokens of a document, special ones left out · ``p`` pairs.

After Rao et al. 2021 (Transformer protein language models are unsupervised structure learners): a map and
its transpose are added, the average product correction of Dunn et al. 2008 is taken out, and a logistic
regression on all heads gives the probability of a contact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.core.model import Transformer
from biolm.errors import ConfigError

__all__ = ["contact_features", "contact_logits", "corrected"]


def corrected(maps: Tensor) -> Tensor:
    """Symmetric maps ``(h, s, s)`` less the product of their margins over their sum.

    Examples
    --------
    >>> corrected(torch.ones(1, 3, 3)).abs().max().item() < 1e-6
    True
    """
    whole = maps + maps.transpose(-1, -2)
    rows = whole.sum(-1, keepdim=True)
    return whole - rows * rows.transpose(-1, -2) / rows.sum(-2, keepdim=True)


def contact_logits(model: Transformer, batch: Batch, weights: Tensor, skip: tuple[int, int]) -> list[Tensor]:
    """Logits ``(s, s)`` of contacts for each document.

    Maps are weighed layer by layer, so memory holds those of one layer.

    Parameters
    ----------
    model
        The core.
    batch
        Packed tokens.
    weights
        ``(l * h + 1,)`` layer by layer, the intercept last.
    skip
        Special tokens before and after each document.

    Raises
    ------
    ConfigError
        If the weights are of another number of heads.
    """
    layers, heads = model.config.n_layers, model.config.n_heads
    if len(weights) != layers * heads + 1:
        raise ConfigError(
            f"the contact regression has {len(weights) - 1} weights but the model {layers * heads} heads; "
            "take both from the same checkpoint"
        )
    # Maps arrive layer by layer, and so do the weights of the regression.
    by_layer = iter(weights[:-1].view(layers, heads))
    totals: list[Tensor] = []

    def receive(maps: tuple[Tensor, ...]) -> None:
        weight = next(by_layer).to(maps[0])
        parts = [torch.einsum("h,hij->ij", weight, corrected(_inner(one, skip).float())) for one in maps]
        if totals:
            for total, part in zip(totals, parts, strict=True):
                total += part
        else:
            totals.extend(parts)

    with torch.inference_mode():
        model(batch, logits=False, attentions=receive)
        return [total + weights[-1].to(total) for total in totals]


def contact_features(
    model: Transformer, batch: Batch, pairs: tuple[Tensor, Tensor], skip: tuple[int, int]
) -> Tensor:
    """Corrected attention ``(p, l * h)`` of some pairs of the only document of a batch.

    Parameters
    ----------
    model, batch, skip
        As of :func:`contact_logits`.
    pairs
        ``(p,)`` places of both tokens, special ones not counted.
    """
    features: list[Tensor] = []

    def receive(maps: tuple[Tensor, ...]) -> None:
        whole = corrected(_inner(maps[0], skip).float())
        features.append(whole[:, pairs[0], pairs[1]].T)

    with torch.inference_mode():
        model(batch, logits=False, attentions=receive)
    return torch.cat(features, 1)


def _inner(maps: Tensor, skip: tuple[int, int]) -> Tensor:
    end = maps.shape[-1] - skip[1]
    return maps[:, skip[0] : end, skip[0] : end]
