"""From hidden states to logits or values.

Dimensions: ``t`` tokens · ``d`` width · ``e`` embedding width · ``v`` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biolm.core.config import CoreConfig
from biolm.core.mlp import activation
from biolm.core.norm import make_norm

__all__ = ["ClassifierHead", "GeneQueryHead", "TokenHead", "ValueHead", "make_head"]


class TokenHead(nn.Module):
    """Vocabulary logits: a linear map, for masked models after a dense layer with norm.

    With ``tied`` the map is the token embedding itself, which :meth:`forward` receives.
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        c = self.config = config
        if c.head == "mlm":
            self.dense = nn.Linear(c.d_model, c.embed_dim, bias=c.head_dense_bias)
            self.norm = make_norm(c, c.embed_dim)
            self.act = activation(c.head_activation)
        shrinks = c.head == "linear" and c.project_tokens
        self.projection = nn.Linear(c.d_model, c.embed_dim, bias=False) if shrinks else None
        width = c.embed_dim if c.head == "mlm" or shrinks else c.d_model
        self.decoder = None if c.tied else nn.Linear(width, c.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(c.vocab_size)) if c.head_bias else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(t, d)`` and the token embedding ``(v, e)`` to ``(t, v)``.

        Parameters
        ----------
        x
            ``(t, d)`` states.
        embedding
            ``(v, e)`` token embedding, for a tied head.
        """
        c = self.config
        if c.head == "mlm":
            x = self.norm(self.act(self.dense(x)))
        if self.projection is not None:
            x = self.projection(x)
        if c.logit_scale != 1.0:
            x = x * c.logit_scale
        weight = embedding if self.decoder is None else self.decoder.weight
        logits = nn.functional.linear(x, weight, self.bias)
        if c.logit_softcap is not None:
            logits = c.logit_softcap * torch.tanh(logits / c.logit_softcap)
        return logits


class ValueHead(nn.Module):
    """scGPT's expression decoder: two leaky layers and one number for each token."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        width = config.d_model
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # noqa: ARG002  # one signature for heads
        """``(t, d)`` to ``(t,)``.

        Parameters
        ----------
        x
            ``(t, d)`` states.
        embedding
            Not used; heads share a signature.
        """
        act = nn.functional.leaky_relu
        return self.last(act(self.second(act(self.first(x))))).squeeze(-1)  # type: ignore[no-any-return]


class GeneQueryHead(nn.Module):
    """scGPT's MVC decoder: a value for each gene token from its cell's vector.

    The gene's embedding, squashed by a sigmoid, is the query; the value is its bilinear product with the
    cell vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.map = nn.Linear(width, width, bias=False)

    def forward(self, genes: Tensor, cells: Tensor, lengths: Tensor) -> Tensor:
        """Gene embeddings ``(t, d)``, cell vectors ``(b, d)`` and tokens a cell ``(b,)`` to ``(t,)``.

        Parameters
        ----------
        genes
            ``(t, d)`` embeddings of the genes that are asked for.
        cells
            ``(b, d)`` vectors of the cells.
        lengths
            ``(b,)`` genes asked of each cell.
        """
        wanted: Tensor = self.map(torch.sigmoid(self.query(genes)))  # (t, d)
        return (wanted * torch.repeat_interleave(cells, lengths.long(), 0)).sum(-1)


class ClassifierHead(nn.Module):
    """Classes from a pooled vector: hidden steps of linear, ReLU and norm, then a linear map.

    Parameters
    ----------
    width
        ``d``.
    classes
        How many.
    hidden
        Hidden steps.
    """

    def __init__(self, width: int, classes: int, hidden: int = 0) -> None:
        super().__init__()
        self.dense = nn.ModuleList(nn.Linear(width, width) for _ in range(hidden))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(hidden))
        self.out = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, d)`` to ``(b, classes)``."""
        for dense, norm in zip(self.dense, self.norms, strict=True):
            x = norm(torch.relu(dense(x)))
        return self.out(x)  # type: ignore[no-any-return]


def make_head(config: CoreConfig) -> nn.Module | None:
    """The head a config asks for."""
    if config.head == "none":
        return None
    return ValueHead(config) if config.head == "value" else TokenHead(config)
