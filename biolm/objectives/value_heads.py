"""Heads of expression objectives: a value of each token, and values of genes from a cell's vector.

Dimensions: ``t`` tokens · ``b`` cells · ``d`` width · ``c`` width of a condition (0 for none).

Beside each value a head may give the logit of the gene being expressed at all (scGPT's explicit zero
probability, which is the probability of *not* being zero).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biolm.core import CoreConfig, Transformer
from biolm.core.heads import GeneQueryHead

__all__ = ["CellToGenes", "Condition", "TokenValues", "gene_vectors"]


def gene_vectors(core: Transformer, ids: Tensor) -> Tensor:
    """Embeddings ``(t, d)`` of gene tokens, as they enter the sum (after scGPT's norm).

    Parameters
    ----------
    core
        The model.
    ids
        ``(t,)`` gene tokens.
    """
    x = core.embeddings.tokens(ids)
    return x if core.embeddings.projection is None else core.embeddings.projection(x)


class Condition(nn.Module):
    """Vector of a label, such as the batch a cell comes from: embedding and norm.

    Parameters
    ----------
    classes
        How many labels.
    width
        ``c``.
    eps
        Of the norm.
    """

    def __init__(self, classes: int, width: int, eps: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, labels: Tensor) -> Tensor:
        """``(b,)`` to ``(b, c)``; an unknown label (-100) gives zeros."""
        known = (labels >= 0)[:, None]
        return torch.where(known, self.norm(self.embedding(labels.clamp(min=0))), 0.0)


class _Decoder(nn.Module):
    """Two leaky layers and one number."""

    def __init__(self, entry: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(entry, width), nn.Linear(width, width)
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(t, d)`` to ``(t,)``."""
        return self.last(F.leaky_relu(self.second(F.leaky_relu(self.first(x))))).squeeze(-1)  # type: ignore[no-any-return]


class TokenValues(nn.Module):
    """Value of each token from its hidden state, with an optional condition and zero logit.

    Parameters
    ----------
    config
        Of the core, for ``d``.
    condition
        ``c``.
    zero
        Also give the logit of not being zero.
    """

    def __init__(self, config: CoreConfig, *, condition: int = 0, zero: bool = False) -> None:
        super().__init__()
        width = config.d_model
        self.value = _Decoder(width + condition, width)
        self.nonzero = _Decoder(width + condition, width) if zero else None

    def forward(self, states: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """States ``(t, d)`` and conditions ``(t, c)`` to values and logits ``(t,)``.

        Parameters
        ----------
        states
            ``(t, d)``.
        condition
            ``(t, c)``; None for none.
        """
        x = states if condition is None else torch.cat((states, condition), -1)
        return self.value(x), None if self.nonzero is None else self.nonzero(x)


class CellToGenes(GeneQueryHead):
    """Value of gene tokens from their cell's vector (scGPT's MVC), with optional condition and zero logit.

    Parameters
    ----------
    width
        ``d`` of the genes.
    condition
        ``c``; a cell's vector is then ``d + c`` wide.
    zero
        Also give the logit of not being zero.
    """

    def __init__(self, width: int, *, condition: int = 0, zero: bool = False) -> None:
        super().__init__(width)
        self.map = nn.Linear(width, width + condition, bias=False)
        self.nonzero = nn.Linear(width, width + condition) if zero else None

    def logit(self, genes: Tensor, cells: Tensor, lengths: Tensor) -> Tensor | None:
        """Logit of not being zero, ``(t,)``; arguments as of :meth:`forward`.

        Parameters
        ----------
        genes
            ``(t, d)`` embeddings of the genes that are asked for.
        cells
            ``(b, d)`` vectors of the cells.
        lengths
            ``(b,)`` genes asked of each cell.
        """
        if self.nonzero is None:
            return None
        wanted = self.nonzero(torch.sigmoid(self.query(genes)))  # (t, d + c)
        return (wanted * torch.repeat_interleave(cells, lengths.long(), 0)).sum(-1)  # type: ignore[no-any-return]
