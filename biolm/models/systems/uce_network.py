"""The network of UCE: protein vectors to tokens, post-norm layers, decoder of the cls state.

Dimensions: ``t`` tokens of a batch · ``b`` cells · ``h`` heads · ``s`` tokens of a cell · ``e`` width of a
head · ``d`` width.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention

from biolm.batch import Batch
from biolm.core.checkpoint import load_strict, read_torch
from biolm.core.maps import Receive
from biolm.errors import CheckpointError, ConfigError
from biolm.models.systems.cell_network import by_document, map_of

__all__ = ["UceNetwork", "read_network"]


def _stack(sizes: list[int]) -> nn.Sequential:
    """Linear, norm and GELU for each pair of sizes; the last is linear alone."""
    blocks: list[nn.Module] = [
        nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.GELU()) for a, b in pairwise(sizes[:-1])
    ]
    return nn.Sequential(*blocks, nn.Linear(sizes[-2], sizes[-1]))


class UceNetwork(nn.Module):
    """The network under the names of its checkpoint; shapes are those of its weights."""

    def __init__(self, shapes: dict[str, torch.Size], heads: int) -> None:
        super().__init__()
        self.heads = heads
        rows, inner = shapes["pe_embedding.weight"]
        width = shapes["encoder.0.weight"][0]
        self.pe_embedding = nn.Embedding(rows, inner, device="meta")  # filled with the file's own memory
        self.pos_encoder = nn.Module()
        self.pos_encoder.register_buffer("pe", torch.zeros(shapes["pos_encoder.pe"]))
        self.encoder, self.gene_embedding_layer = (
            nn.Sequential(nn.Linear(inner, width), nn.GELU(), nn.LayerNorm(width)) for _ in range(2)
        )
        layer = "transformer_encoder.layers"
        hidden = shapes[f"{layer}.0.linear1.weight"][0]
        depth = sum(name.endswith("linear1.bias") for name in shapes)
        self.transformer_encoder = nn.Module()
        self.transformer_encoder.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, hidden, 0.0) for _ in range(depth)
        )
        names = [*(f"decoder.{i}.0.weight" for i in range(3)), "decoder.3.weight"]
        self.decoder = _stack([width, *(shapes[name][0] for name in names)])
        if "binary_decoder.3.weight" in shapes:
            names = [f"binary_decoder.{i}.0.weight" for i in range(3)]
            self.binary_decoder = _stack([shapes[names[0]][1], *(shapes[name][0] for name in names), 1])

    def token_vectors(self, ids: Tensor) -> Tensor:
        """``(t, d)`` of tokens, without their places."""
        x = self.encoder(normalize(self.pe_embedding(ids), dim=1))
        return x * x.shape[1] ** 0.5  # type: ignore[no-any-return]

    def states(self, batch: Batch, *, first: bool = False, maps: Receive | None = None) -> Tensor:
        """Last states ``(t, d)``; ``batch.values`` is added to the scores of each key.

        Parameters
        ----------
        batch
            Tokens.
        first
            Give the states of each cell's first token alone, ``(b, d)``: the last layer is run for those.
        maps
            Receives the attention maps of each layer.
        """
        kinds, places = torch.unique(batch.ids, return_inverse=True)  # a gene is drawn many times
        x = self.token_vectors(kinds)[places] + self.pos_encoder.get_buffer("pe")[batch.positions, 0]
        *others, last = self.transformer_encoder.get_submodule("layers").children()
        for layer in others:
            x = self._layer(layer, x, batch, None, maps)
        return self._layer(last, x, batch, batch.offsets[:-1].long() if first else None, maps)

    def _layer(
        self, layer: Any, x: Tensor, batch: Batch, rows: Tensor | None, maps: Receive | None
    ) -> Tensor:
        """One layer, for some tokens where ``rows`` are given, one a cell."""
        keys, attention, width = x, layer.self_attn, x.shape[1]
        x = x if rows is None else x[rows]
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        query = nn.functional.linear(x, weight[:width], bias[:width])
        parts = (query, *nn.functional.linear(keys, weight[width:], bias[width:]).chunk(2, 1))
        q, k, v = (part.reshape(len(part), self.heads, -1) for part in parts)
        added = None if batch.values is None else batch.values.to(x.dtype)
        asking = None if rows is None else torch.arange(len(batch) + 1)
        if maps is not None:
            maps(tuple(map_of(q, k, batch.offsets, _weights, added)))
        attend = scaled_dot_product_attention if added is None else _biased
        mixed = by_document(attend, batch.offsets, q, k, v, keys=added, asking=asking)
        x = layer.norm1(x + attention.out_proj(mixed))
        return layer.norm2(x + layer.linear2(layer.linear1(x).relu()))  # type: ignore[no-any-return]

    def forward(self, batch: Batch) -> Tensor:
        """Cell vectors ``(b, d)``."""
        return normalize(self.decoder(self.states(batch, first=True)), dim=1)

    def expressed(self, cells: Tensor, proteins: Tensor) -> Tensor:
        """Logits ``(b,)`` that each cell expresses a gene.

        Parameters
        ----------
        cells
            ``(b, d)`` vectors.
        proteins
            ``(b,)`` token of the gene asked of each.

        Raises
        ------
        ConfigError
            If the checkpoint predicts no expression.
        """
        if not hasattr(self, "binary_decoder"):
            raise ConfigError("this UCE checkpoint has no binary_decoder, so it predicts no expression")
        genes = self.gene_embedding_layer(normalize(self.pe_embedding(proteins), dim=1))
        logits: Tensor = self.binary_decoder(torch.cat((cells, genes), 1))[:, 0]
        return logits


def _biased(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(q.shape[1], -1))


def _weights(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention ``(h, s, s)`` of one cell."""
    scores = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
    return torch.softmax(scores if bias is None else scores + bias, 2)


def read_network(path: Path, heads: int) -> UceNetwork:
    """The network of a weight file, strictly; the table of proteins stays on disk.

    Parameters
    ----------
    path
        Of the weights.
    heads
        Of the attention.

    Raises
    ------
    CheckpointError
        If a weight is missing, extra or mis-shaped.
    """
    tensors = read_torch(path, mapped=True)
    try:
        network = UceNetwork({name: tensor.shape for name, tensor in tensors.items()}, heads)
    except KeyError as error:
        raise CheckpointError(f"{path} is no UCE checkpoint: it lacks {error}") from error
    load_strict(network, tensors, path, assign=True)
    return network.eval()
