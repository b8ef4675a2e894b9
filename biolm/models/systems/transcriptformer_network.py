"""The network of TranscriptFormer: gene vectors of proteins, causal attention biased by counts, likelihood.

Dimensions: ``t`` tokens of a batch · ``r`` of them from [START] on · ``b`` cells · ``h`` heads · ``s`` tokens
of a cell · ``e`` width of a head · ``d`` width · ``v`` gene tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from biolm.batch import Batch
from biolm.core.maps import Receive
from biolm.models.systems.cell_network import by_document, map_of

__all__ = ["TranscriptNetwork"]

_LEAST = 1e-6  # added to counts before the logarithm
_QUERIES = 128  # of a slice of attention


class _Mlp(nn.Module):
    """Linear, ReLU, norm, linear."""

    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        inner, hidden, outer = sizes
        self.layers = nn.Sequential(
            nn.Linear(inner, hidden), nn.ReLU(), nn.LayerNorm(hidden), nn.Identity(), nn.Linear(hidden, outer)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(t, inner)`` to ``(t, outer)``."""
        mapped: Tensor = self.layers(x)
        return mapped


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(4))


class _Layer(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = _Attention(width)
        self.linear1 = nn.Linear(width, hidden, bias=False)
        self.linear2 = nn.Linear(hidden, width, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)


class TranscriptNetwork(nn.Module):
    """The network under the names of its checkpoint.

    Parameters
    ----------
    shapes
        Of the weights.
    heads
        Of the attention.
    softcap
        Scores are kept within it.
    """

    def __init__(self, shapes: dict[str, torch.Size], heads: int, softcap: float) -> None:
        super().__init__()
        self.heads, self.softcap = heads, softcap
        rows, inner = shapes["gene_embeddings.embedding.weight"]
        self.gene_embeddings = nn.ModuleDict(
            {"embedding": nn.Embedding(rows, inner), "mlp": _Mlp(_sizes(shapes, "gene_embeddings.mlp"))}
        )
        self.aux_embeddings = nn.ModuleDict({"assay": nn.Embedding(*shapes["aux_embeddings.assay.weight"])})
        stem = "transformer_encoder.encoder_layers"
        hidden, width = shapes[f"{stem}.0.linear1.weight"]
        depth = sum(name.endswith("linear1.weight") for name in shapes)
        layers = nn.ModuleList(_Layer(width, hidden) for _ in range(depth))
        self.transformer_encoder = nn.ModuleDict({"encoder_layers": layers})
        genes = nn.Embedding(*shapes["mu.gene_embedding.weight"])
        self.mu = nn.ModuleDict({"gene_embedding": genes, "mlp": _Mlp(_sizes(shapes, "mu.mlp"))})
        if "gene_id_head.layers.0.weight" in shapes:
            self.gene_id_head = _Mlp(_sizes(shapes, "gene_id_head"))

    def gene_vectors(self, ids: Tensor) -> Tensor:
        """``(t, d)`` of gene tokens."""
        vectors: Tensor = self.gene_embeddings["mlp"](self.gene_embeddings["embedding"](ids))
        return vectors

    def forward(self, batch: Batch, *, embedding: bool = True, maps: Receive | None = None) -> Tensor:
        """States ``(t, d)``.

        Parameters
        ----------
        batch
            Tokens with their counts.
        embedding
            Whether a key's count also biases its own query.
        maps
            Receives the attention maps of each layer.
        """
        assert batch.values is not None
        genes = len(self.gene_embeddings.get_parameter("embedding.weight"))  # assays have tokens from here on
        is_gene = batch.ids < genes
        kinds, places = torch.unique(batch.ids.clamp(max=genes - 1), return_inverse=True)
        x = self.gene_vectors(kinds)[places]
        assays = self.aux_embeddings["assay"]((batch.ids - genes).clamp(min=0))
        x = torch.where(is_gene[:, None], x, assays)
        bias = (batch.values + _LEAST).log1p()
        attend = self._attend if embedding else self._attend_strictly
        layers: Any = self.transformer_encoder["encoder_layers"]
        for layer in layers:
            x = layer.norm1(x)
            *inputs, out = layer.self_attn.linears
            q, k, v = (linear(x).unflatten(1, (self.heads, -1)) for linear in inputs)
            if maps is not None:
                maps(tuple(map_of(q, k, batch.offsets, self._map, bias.to(x.dtype))))
            x = x + out(by_document(attend, batch.offsets, q, k, v, keys=bias.to(x.dtype)))
            x = layer.norm2(x)
            x = x + layer.linear2(gelu(layer.linear1(x)))
        states: Tensor = x
        return states

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, strict: bool = False) -> Tensor:
        """Some queries at a time, each slice with the keys up to its last."""
        parts = []
        for start in range(0, q.shape[1], _QUERIES):
            stop = min(start + _QUERIES, q.shape[1])
            weights = self._raised(q[:, start:stop], k[:, :stop], bias[:stop], strict=strict)
            parts.append(weights.to(v) @ v[:, :stop] / weights.sum(2, keepdim=True).to(v))
        return torch.cat(parts, 1)

    def _raised(self, q: Tensor, k: Tensor, bias: Tensor, *, strict: bool = False) -> Tensor:
        """Exponentials of the scores of the last queries ``(h, q, e)``: softmax weights but for their sum.

        The cap keeps them finite, so that no largest score is subtracted.
        """
        asks, seen = q.shape[1], k.shape[1]
        place = torch.arange(seen - asks, seen, device=q.device)[:, None]
        added = bias * (place > torch.arange(seen, device=q.device)).to(bias) if strict else bias
        scores = ((q * (q.shape[2] ** -0.5 / self.softcap)) @ k.transpose(1, 2)).float()
        raised: Tensor = scores.add_(added / self.softcap).tanh_().mul_(self.softcap).exp_()
        raised[:, :, seen - asks :].tril_()  # only the last keys come after some of the queries
        return raised

    def _attend_strictly(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return self._attend(q, k, v, bias, strict=True)

    def _map(self, q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
        weights = self._raised(q, k, bias)
        return weights / weights.sum(2, keepdim=True)

    def expected_counts(self, states: Tensor, targets: Tensor, owner: Tensor, totals: Tensor) -> Tensor:
        """Mean count ``(r,)`` of each target gene.

        Parameters
        ----------
        states
            ``(r, d)`` of the tokens before each target.
        targets
            ``(r,)`` gene tokens, none of them padding.
        owner
            ``(r,)`` cell of each.
        totals
            ``(b,)`` counts of each cell.
        """
        both = torch.cat((states, self.gene_vectors(targets)), 1)
        logits = (self.mu["gene_embedding"](targets) + self.mu["mlp"](both))[:, 0]
        top = torch.full_like(totals, -torch.inf).scatter_reduce(0, owner, logits, "amax")
        raised = (logits - top[owner]).exp()
        sums = torch.zeros_like(totals).index_add(0, owner, raised)
        means: Tensor = raised / sums[owner] * totals[owner]
        return means

    def gene_logits(self, states: Tensor) -> Tensor:
        """Logits ``(r, v)`` of the next gene, before the soft cap of their loss."""
        logits: Tensor = self.gene_id_head(states)
        return logits


def _sizes(shapes: dict[str, torch.Size], stem: str) -> tuple[int, int, int]:
    hidden, inner = shapes[f"{stem}.layers.0.weight"]
    return inner, hidden, shapes[f"{stem}.layers.4.weight"][0]
