"""Two token streams that read each other, both at once: parallel cross-attention of genes and image.

Dimensions: ``b`` documents (spots, cells) · ``t`` gene tokens · ``u`` image tokens of all documents, packed ·
``d`` width · ``h`` heads · ``q``, ``s`` queries and keys of one document.

In one layer ``H′_gene = CrossAttn(Q = H_gene, K = V = H_img)`` and ``H′_img = CrossAttn(Q = H_img, K = V =
H_gene)`` both read the streams of the layer below, so neither sees the other's update (TRIPLEX's
``SpatialFormerBlock`` updates one side first). Then each side has its own residual, norm and feed-forward.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from biolm.core.attention import Attention, Context
from biolm.core.config import CoreConfig
from biolm.core.kernels import attention_maps
from biolm.core.layout import Layout
from biolm.core.mlp import FeedForward
from biolm.core.norm import make_norm
from biolm.errors import ConfigError, InputError

__all__ = ["Fusion", "FusionLayer", "FusionMaps", "Stream"]


class Stream(NamedTuple):
    """Packed tokens of one side.

    Parameters
    ----------
    states
        ``(t, d)``.
    offsets
        ``(b + 1,)`` int32 starts of the documents.
    """

    states: Tensor
    offsets: Tensor


class FusionMaps(NamedTuple):
    """Attention of one layer, a map for each document.

    Parameters
    ----------
    genes
        ``(h, q, s)``: which image tokens each gene token looks at.
    image
        ``(h, s, q)``: which gene tokens each image token looks at.
    """

    genes: tuple[Tensor, ...]
    image: tuple[Tensor, ...]


class _Side(nn.Module):
    """What one stream does in a layer: look at the other, then its feed-forward; pre-norm."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.norm, self.memory_norm, self.mlp_norm = (make_norm(config) for _ in range(3))
        self.cross = Attention(config, cross=True)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout_residual)

    def forward(self, own: Tensor, other: Tensor, layout: Layout) -> Tensor:
        context = Context(layout, memory=self.memory_norm(other), memory_layout=layout)
        x = own + self.dropout(self.cross(self.norm(own), context))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]

    def maps(self, own: Tensor, other: Tensor, layout: Layout) -> tuple[Tensor, ...]:
        query = self.cross.queries(self.norm(own))
        key, _ = self.cross.keys_values(self.memory_norm(other))
        return attention_maps(query, key, layout, self.cross.rule, None)


class FusionLayer(nn.Module):
    """One parallel layer: each side reads the other as it was before the layer.

    Parameters
    ----------
    config
        Width, heads, feed-forward, norms and dropout; everything else is not used.
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.genes, self.image = _Side(config), _Side(config)

    def forward(
        self, genes: Tensor, image: Tensor, to_image: Layout, to_genes: Layout
    ) -> tuple[Tensor, Tensor]:
        """Both streams after the layer, ``(t, d)`` and ``(u, d)``.

        Parameters
        ----------
        genes, image
            The streams of the layer below.
        to_image, to_genes
            Documents of genes that look at the image, and of the image that looks at genes.
        """
        return self.genes(genes, image, to_image), self.image(image, genes, to_genes)


class Fusion(nn.Module):
    """Layers of parallel cross-attention; either side of a document may be missing.

    A missing side is one learned token, so that the other side always finds something to look at.

    Parameters
    ----------
    config
        Of a layer; ``n_layers`` of them.

    Raises
    ------
    ConfigError
        If the config asks for causal or windowed attention, which two streams do not have.

    Examples
    --------
    >>> config = CoreConfig(vocab_size=1, d_model=8, n_layers=2, n_heads=2, d_ff=16)
    >>> genes = Stream(torch.ones(5, 8), torch.tensor([0, 2, 5], dtype=torch.int32))
    >>> image = Stream(torch.ones(3, 8), torch.tensor([0, 3, 3], dtype=torch.int32))  # the second has none
    >>> fused_genes, fused_image = Fusion(config)(genes, image)
    >>> fused_genes.states.shape, fused_image.offsets.tolist()
    (torch.Size([5, 8]), [0, 3, 4])
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        if config.causal or config.window:
            raise ConfigError(
                "fusion layers see every token of the other side; give no causal mask or window"
            )
        self.layers = nn.ModuleList(FusionLayer(config) for _ in range(config.n_layers))
        self.no_genes = nn.Parameter(torch.randn(config.d_model) * 0.02)
        self.no_image = nn.Parameter(torch.randn(config.d_model) * 0.02)
        self.genes_norm, self.image_norm = make_norm(config), make_norm(config)

    def forward(
        self, genes: Stream, image: Stream, maps: list[FusionMaps] | None = None
    ) -> tuple[Stream, Stream]:
        """Run the layers.

        Parameters
        ----------
        genes, image
            Streams with the same number of documents, of which some may have no tokens.
        maps
            Receives the attention of every layer.

        Returns
        -------
        Both streams after the last layer and a norm; a missing side comes back as its one token.

        Raises
        ------
        InputError
            If the streams have different numbers of documents.
        """
        if len(genes.offsets) != len(image.offsets):
            raise InputError(
                f"genes come of {len(genes.offsets) - 1} spots and images of {len(image.offsets) - 1}; "
                "give one of each for each"
            )
        genes, image = _filled(genes, self.no_genes), _filled(image, self.no_image)
        to_image, to_genes = _layout(genes, image), _layout(image, genes)
        g, i = genes.states, image.states
        for layer in self.layers:
            assert isinstance(layer, FusionLayer)
            if maps is not None:
                maps.append(FusionMaps(layer.genes.maps(g, i, to_image), layer.image.maps(i, g, to_genes)))
            g, i = layer(g, i, to_image, to_genes)
        return Stream(self.genes_norm(g), genes.offsets), Stream(self.image_norm(i), image.offsets)


def _layout(queries: Stream, keys: Stream) -> Layout:
    """Documents of two streams; places are not used, as nothing is masked by them."""
    lengths = [stream.offsets[1:] - stream.offsets[:-1] for stream in (queries, keys)]
    longest = [int(length.max()) if len(length) else 0 for length in lengths]
    places = [torch.zeros(len(s.states), dtype=torch.long, device=s.states.device) for s in (queries, keys)]
    return Layout(queries.offsets, keys.offsets, places[0], places[1], longest[0], longest[1])


def _filled(stream: Stream, token: Tensor) -> Stream:
    """The stream with one learned token in every document that has none."""
    lengths = (stream.offsets[1:] - stream.offsets[:-1]).long()
    empty = lengths == 0
    if not bool(empty.any()):
        return stream
    lengths = lengths + empty
    offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    kept = torch.ones(int(offsets[-1]), dtype=torch.bool, device=stream.states.device)
    kept[offsets[:-1][empty]] = False
    states = token.to(stream.states.dtype).expand(len(kept), -1).clone()
    states = states.index_copy(0, kept.nonzero().flatten(), stream.states)
    return Stream(states, offsets.to(stream.offsets.dtype))
