"""The network of CellPLM: embedding of counts, clusters and Gaussians of a state, decoder to counts.

Dimensions: ``n`` cells of a group · ``g`` genes · ``d`` width · ``z`` latent width · ``k`` clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, one_hot, softplus

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.parts import Part

__all__ = ["COUNTS_OF_CELLS", "CellEmbedder", "CellPlmNetwork", "Decoder", "Latent", "norm_of"]


def norm_of(kind: str, width: int) -> nn.Module:
    """The norm that a config names; groups are of a quarter of the width each, as published.

    Parameters
    ----------
    kind
        Name in the config.
    width
        Of the vectors.
    """
    return nn.GroupNorm(4, width) if kind == "groupnorm" else nn.LayerNorm(width)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsOptions:
    """The norm behind the counts: ``layernorm`` or ``groupnorm``."""

    norm: str = "layernorm"


class CellEmbedder(nn.Module):
    """Counts of cells to the first states; the core gets them as the values of its batch."""

    def __init__(self, config: CoreConfig, options: CountsOptions) -> None:
        super().__init__()
        width = config.d_model
        self.token = nn.Embedding(config.vocab_size, width)
        self.first, self.norm = nn.Linear(width, width), norm_of(options.norm, width)

    def of_counts(self, genes: Tensor, values: Tensor, starts: Tensor) -> Tensor:
        """``(n, d)`` of genes and ``log(1 + count)``, one after the other, and where each cell starts.

        Parameters
        ----------
        genes
            ``(t,)`` expressed genes, cell by cell.
        values
            ``(t,)`` ``log(1 + count)``.
        starts
            ``(n,)`` where each cell begins.
        """
        table = self.token.weight
        return self.of_sums(
            embedding_bag(genes, table, starts, mode="sum", per_sample_weights=values.to(table))
        )

    def of_sums(self, sums: Tensor) -> Tensor:
        """``(n, d)`` of the rows of the table that each cell adds up, ``(n, d)``."""
        return self.norm(self.first(sums).relu())  # type: ignore[no-any-return]

    def forward(self, batch: Batch) -> Tensor:
        """``(n, d)``, as they were embedded before."""
        assert batch.values is not None
        return batch.values


COUNTS_OF_CELLS = Part(name="counts_of_cells", kind="embedder", factory=CellEmbedder, options=CountsOptions)


class Latent(nn.Module):
    """Clusters of a state, and the Gaussian of each; named as in the checkpoint."""

    def __init__(self, width: int, latent: int, clusters: int) -> None:
        super().__init__()
        self.inference_qyx = nn.ModuleList([nn.ModuleDict({"logits": nn.Linear(width, clusters)})])
        ends = nn.ModuleDict({"mu": nn.Linear(512, latent), "var": nn.Linear(512, latent)})
        self.inference_qzyx = nn.ModuleList([nn.Linear(width + clusters, 512), nn.ReLU(), ends])
        self.y_mu, self.y_var = nn.Linear(clusters, latent), nn.Linear(clusters, latent)

    def logits(self, states: Tensor) -> Tensor:
        """``(n, k)``."""
        return self.inference_qyx.get_submodule("0.logits")(states)  # type: ignore[no-any-return]

    def draw(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One cluster of each cell, one-hot ``(n, k)``: the largest logit with Gumbel noise.

        Parameters
        ----------
        logits
            ``(n, k)`` of the clusters.
        generator
            Of the noise; torch's own by default.
        """
        noise = torch.rand(logits.shape, generator=generator).to(logits)
        noise = -(-(noise + 1e-20).log() + 1e-20).log()
        return one_hot((logits + noise).argmax(1), logits.shape[1]).to(logits)

    def gaussian(self, states: Tensor, cluster: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance ``(n, z)`` for a one-hot cluster of each cell.

        Parameters
        ----------
        states
            ``(n, d)``.
        cluster
            ``(n, k)`` one-hot.
        """
        first, _, ends = self.inference_qzyx
        hidden = first(torch.cat((states, cluster), 1)).relu()
        return ends.get_submodule("mu")(hidden), softplus(ends.get_submodule("var")(hidden))

    def expected(self, states: Tensor) -> Tensor:
        """Mean ``(n, z)`` over all clusters by their probability."""
        shares = self.logits(states).softmax(1)
        each = [
            self.gaussian(states, one_hot(torch.full((len(states),), k), shares.shape[1]).to(states))[0]
            for k in range(shares.shape[1])
        ]
        return (shares.T[..., None] * torch.stack(each)).sum(0)


class Decoder(nn.Module):
    """Latent to the mean count and dispersion of each gene; named as in the checkpoint."""

    def __init__(self, shapes: dict[str, torch.Size], norm: str = "layernorm") -> None:
        super().__init__()
        depth = len({name.split(".")[1] for name in shapes if name.startswith("layers.")})
        sizes = [shapes[f"layers.{i}.0.weight"] for i in range(depth)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(b, a), nn.PReLU(), nn.Identity(), norm_of(norm, a)) for a, b in sizes
        )
        kinds = sorted({name.split(".")[2] for name in shapes if name.startswith("covariate_layers.0.")})
        self.covariate_layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    kind: nn.Sequential(
                        nn.Embedding(*shapes[f"covariate_layers.{i}.{kind}.0.weight"]),
                        nn.PReLU(),
                        norm_of(norm, a),
                    )
                    for kind in kinds
                }
            )
            for i, (a, _) in enumerate(sizes)
        )
        hidden, inner = shapes["out_layer.dec_1.weight"]
        genes = shapes["out_layer.dec_mean.0.bias"][0]
        self.out_layer = nn.Module()
        self.out_layer.dec_1 = nn.Linear(inner, hidden)
        self.out_layer.dec_mean = nn.Sequential(nn.Linear(hidden, genes))
        self.out_layer.dec_disp = nn.Parameter(torch.zeros(genes))

    def forward(self, latent: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean counts ``(n, g)`` and dispersions ``(g,)``; a label that is not given is the sum of all.

        Parameters
        ----------
        latent
            ``(n, z)``.
        labels
            ``(n,)`` codes by kind of label, such as the batch.
        """
        x = latent
        for layer, covariates in zip(self.layers, self.covariate_layers, strict=True):
            x = layer(x)
            for kind, parts in covariates.items():  # type: ignore[operator]
                table, bend, norm = parts
                rows = table(labels[kind]) if kind in labels else table.weight.sum(0).expand(len(x), -1)
                x = x + norm(bend(rows))
        out: Any = self.out_layer
        means = out.dec_mean(out.dec_1(x).relu()).exp().clamp(1e-5, 1e6)
        return means, out.dec_disp.exp().clamp(1e-4, 1e4)


class CellPlmNetwork(nn.Module):
    """Encoder, latent and decoder.

    Parameters
    ----------
    core
        The shared core with flow attention between cells.
    latent, decoder
        The other two.
    """

    def __init__(self, core: Transformer, latent: Latent, decoder: Decoder) -> None:
        super().__init__()
        self.core, self.latent, self.decoder = core, latent, decoder

    def states(self, embedded: Tensor, core: Transformer | None = None) -> Tensor:
        """States ``(n, d)`` of the cells of one group, after the last norm.

        Parameters
        ----------
        embedded
            ``(n, d)`` of its cells.
        core
            A copy of the encoder in another number type; the encoder itself by default.
        """
        n, device = len(embedded), embedded.device
        batch = Batch(
            ids=torch.zeros(n, dtype=torch.int64, device=device),
            offsets=torch.tensor([0, n], dtype=torch.int32, device=device),
            positions=torch.arange(n, device=device),
            max_length=n,
            index=torch.zeros(1, dtype=torch.int64, device=device),
            values=embedded,
        )
        states: Tensor = (self.core if core is None else core)(batch, logits=False).last_hidden_state
        return states
