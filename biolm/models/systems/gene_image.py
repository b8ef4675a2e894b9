"""Genes and tissue image of a spot that look at each other: predicts expression from either or both.

Dimensions: ``b`` spots · ``t`` gene tokens of all spots, packed · ``c`` components · ``k`` neighbours ·
``i`` image tokens of a spot · ``f`` numbers of an image token · ``d`` width · ``g`` predicted genes ·
``n`` kinds of neighbours · ``v`` width of the contrast.

The image encoder is frozen and stands outside: its features come in. What is trained: embeddings of genes,
one layer in which a spot looks at its neighbours, parallel fusion layers, and read-outs. The linear read-outs
may start at their ridge solution, so that the layers learn what a linear model misses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biolm.core.config import CoreConfig
from biolm.core.fusion import Fusion, FusionMaps, Stream
from biolm.core.places import NeighbourLayer
from biolm.core.pooling import pool
from biolm.errors import ConfigError
from biolm.settings import check_least

__all__ = ["MODES", "GeneImageConfig", "GeneImageModel", "Prediction", "SpotBatch"]

MODES = ("genes", "image", "both")
"""What a spot may come with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneImageConfig:
    """Shape of the model.

    Parameters
    ----------
    n_genes
        Genes of the vocabulary that is read.
    targets
        ``g``, genes that are predicted.
    components, image_tokens, image_width, contexts, niches
        ``c``, ``i``, ``f``, size of the context vocabulary, and ``n`` (0: none are predicted).
    gene_tokens
        What the cell adapter gives: ``continuous`` values, ``bins`` or ``rank``.
    n_bins
        Bins, or ranks that have an embedding of their own.
    width, layers, heads, dropout
        ``d``, fusion layers, heads, and dropout of branches.
    contrast
        ``v``.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    n_genes: int
    targets: int
    components: int
    image_tokens: int
    image_width: int
    contexts: int = 13
    niches: int = 0
    gene_tokens: str = "continuous"
    n_bins: int = 51
    width: int = 48
    layers: int = 2
    heads: int = 4
    dropout: float = 0.2
    contrast: int = 32

    def __post_init__(self) -> None:
        check_least(1, targets=self.targets, layers=self.layers, width=self.width, components=self.components)
        if self.gene_tokens not in ("continuous", "bins", "rank"):
            raise ConfigError(f"gene_tokens must be continuous, bins or rank, not {self.gene_tokens!r}")

    @property
    def core(self) -> CoreConfig:
        """Shape of every attention layer."""
        return CoreConfig(
            vocab_size=1,
            d_model=self.width,
            n_layers=self.layers,
            n_heads=self.heads,
            d_ff=2 * self.width,
            position="none",
            dropout_residual=self.dropout,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``config.json``."""
        return asdict(self)


class SpotBatch(NamedTuple):
    """Spots as the model reads them.

    Parameters
    ----------
    ids, values, offsets
        Packed gene tokens ``(t,)``, their values, and starts ``(b + 1,)`` int32.
    scores
        ``(b, c)`` principal components of the context genes, standardised within the section.
    neighbours
        ``(b, k, c)`` those of the neighbours.
    places
        ``(b, k, 2)`` where they lie, relative to the spot, in units of the nearest neighbour's distance.
    known
        ``(b, k)`` false where a spot has fewer.
    context
        ``(b, 3)`` context token ids.
    image
        ``(b, i, f)`` standardised features: the whole patch, its surroundings, then parts of it.
    has_genes, has_image
        ``(b,)``.
    """

    ids: Tensor
    values: Tensor
    offsets: Tensor
    scores: Tensor
    neighbours: Tensor
    places: Tensor
    known: Tensor
    context: Tensor
    image: Tensor
    has_genes: Tensor
    has_image: Tensor

    def seeing(self, genes: Tensor | bool, image: Tensor | bool) -> SpotBatch:
        """The spots with a side taken away where ``(b,)`` or all is false.

        Parameters
        ----------
        genes
            ``(b,)`` whose genes stay, or all or none.
        image
            ``(b,)`` whose image stays, or all or none.
        """
        return self._replace(has_genes=self.has_genes & genes, has_image=self.has_image & image)


class Prediction(NamedTuple):
    """What the model says of ``b`` spots.

    Parameters
    ----------
    expression, raw
        ``(b, g)`` depth-normalised and plain log1p values, standardised within the section.
    niche
        ``(b, n)`` logits of the neighbours' composition.
    gene_vector, image_vector
        ``(b, v)`` made before fusion, for the contrast and for retrieval; zeros for a missing side.
    fused
        ``(b, 2d)`` means of both streams after fusion.
    """

    expression: Tensor
    raw: Tensor
    niche: Tensor
    gene_vector: Tensor
    image_vector: Tensor
    fused: Tensor


class GeneImageModel(nn.Module):
    """Parallel cross-attention of a spot's genes and its image.

    Parameters
    ----------
    config
        Its shape.
    """

    def __init__(self, config: GeneImageConfig) -> None:
        super().__init__()
        c = self.config = config
        core, d = c.core, c.width
        self.gene = nn.Embedding(c.n_genes, d)
        if c.gene_tokens == "continuous":
            self.slope = nn.Embedding(c.n_genes, d)
        else:
            self.level = nn.Embedding(c.n_bins, d)
        self.context = nn.Embedding(c.contexts, d)
        self.spot, self.neighbour = nn.Linear(c.components, d), nn.Linear(c.components, d)
        self.around = NeighbourLayer(core)
        self.patch = nn.Linear(c.image_width, d)
        self.patch_place = nn.Parameter(torch.randn(c.image_tokens, d) * 0.02)
        self.fusion = Fusion(core)
        widths = {"genes": c.components, "image": 2 * c.image_width}
        widths["both"] = sum(widths.values())
        self.linear = nn.ModuleDict({mode: nn.Linear(widths[mode], 2 * c.targets) for mode in MODES})
        self.fused = nn.Linear(2 * d, 2 * c.targets)
        # Nothing is added to the linear read-outs until the layers have learned something.
        nn.init.zeros_(self.fused.weight)
        nn.init.zeros_(self.fused.bias)
        self.niche = nn.Linear(2 * d, c.niches) if c.niches else None
        self.gene_contrast = nn.Linear(d + c.components, c.contrast)
        self.image_contrast = nn.Linear(d + 2 * c.image_width, c.contrast)

    def forward(self, batch: SpotBatch, maps: list[FusionMaps] | None = None) -> Prediction:
        """Predict; ``maps`` receives the attention of every fusion layer.

        Parameters
        ----------
        batch
            Spots.
        maps
            Gets the attention of every fusion layer; None where nobody asks.
        """
        genes, image = self.gene_stream(batch), self.image_stream(batch)
        fused_genes, fused_image = self.fusion(genes, image, maps)
        both = torch.cat((_mean(fused_genes), _mean(fused_image)), 1)  # (b, 2d)
        has_genes, has_image = (flag.to(both.dtype)[:, None] for flag in (batch.has_genes, batch.has_image))
        patch = batch.image[:, :2].flatten(1) * has_image  # (b, 2f): the patch and its surroundings
        spot = batch.scores * has_genes
        linear = self.linear["both"](torch.cat((spot, patch), 1)) * has_genes * has_image
        linear = linear + self.linear["genes"](spot) * has_genes * (1 - has_image)
        linear = linear + self.linear["image"](patch) * has_image * (1 - has_genes)
        expression, raw = (linear + self.fused(both)).chunk(2, 1)
        return Prediction(
            expression=expression,
            raw=raw,
            niche=both.new_zeros((len(both), 0)) if self.niche is None else self.niche(both),
            # Before fusion: afterwards each side holds the other and finds it without having learned to.
            gene_vector=self.gene_contrast(torch.cat((_mean(genes), spot), 1)) * has_genes,
            image_vector=self.image_contrast(torch.cat((_mean(image), patch), 1)) * has_image,
            fused=both,
        )

    def gene_stream(self, batch: SpotBatch) -> Stream:
        """Tokens of genes: the spot with its context and neighbours, then its genes; none where missing."""
        around = self._around(batch)
        lengths = (batch.offsets[1:] - batch.offsets[:-1]).long()
        spots = torch.arange(len(lengths), device=lengths.device)
        document = torch.cat((torch.repeat_interleave(spots, around.offsets.diff().long()),
                              torch.repeat_interleave(spots, lengths)))  # fmt: skip
        states = torch.cat((around.states, self._embedded(batch)))
        kept = batch.has_genes[document].nonzero().flatten()
        order = kept[document[kept].argsort(stable=True)]
        sizes = torch.bincount(document[order], minlength=len(lengths))
        return Stream(states[order], _offsets(sizes))

    def image_stream(self, batch: SpotBatch) -> Stream:
        """Tokens of the patch; none where it is missing."""
        tokens = self.patch(batch.image) + self.patch_place  # (b, i, d)
        sizes = batch.has_image.long() * tokens.shape[1]
        return Stream(tokens[batch.has_image].flatten(0, 1), _offsets(sizes))

    def _embedded(self, batch: SpotBatch) -> Tensor:
        """``(t, d)`` embeddings of gene tokens."""
        if self.config.gene_tokens == "continuous":
            return self.gene(batch.ids) + batch.values[:, None] * self.slope(batch.ids)  # type: ignore[no-any-return]
        level = batch.values.long().clamp(0, self.config.n_bins - 1)
        return self.gene(batch.ids) + self.level(level)  # type: ignore[no-any-return]

    def _around(self, batch: SpotBatch) -> Stream:
        """The spot, its context and its neighbours after one layer, with a bias by relative place."""
        b, k = batch.known.shape
        own = self.spot(batch.scores)[:, None]
        context = self.context(batch.context)
        tokens = torch.cat((own, context, self.neighbour(batch.neighbours)), 1)  # (b, 1 + 3 + k, d)
        here = batch.places.new_zeros((b, 1 + context.shape[1], 2))
        places = torch.cat((here, batch.places), 1)
        seen = F.pad(batch.known, (tokens.shape[1] - k, 0), value=True)
        states = self.around(tokens, places, seen)
        return Stream(states[seen], _offsets(seen.sum(1)))

    def trained_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())


def _mean(stream: Stream) -> Tensor:
    """``(b, d)``; zeros for a side without tokens."""
    return pool(stream.states, stream.offsets, "mean")


def _offsets(sizes: Tensor) -> Tensor:
    return F.pad(sizes.cumsum(0), (1, 0)).int()
