"""A network of genes from attention: which genes look at which, more than others do and than at others.

Dimensions: ``g`` genes · ``s`` tokens of a cell · ``h`` heads.

In every cell attention is averaged over layers and heads, special tokens are left out, and what the looking
gene gives to all and the other gets from all is taken away: else every gene would be joined to the few that
all look at. A pair's figure is the sum over cells divided by the root of the sum of squares, which has about
unit variance whatever the number of cells. The null shuffles the names of the genes within every cell: places
keep their attention, genes lose theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.batch import Batch
from biolm.errors import ConfigError, InputError
from biolm.io.cell_tables import open_table
from biolm.io.provenance import plain
from biolm.jobs.bind import bind_genes, loaded
from biolm.jobs.settings import ReadingSettings
from biolm.models.model import CellModel
from biolm.options import read_options
from biolm.progress import progress
from biolm.scoring.rates import adjusted
from biolm.tasks.genes.network import GeneNetwork, check_rate, passing
from biolm.tasks.genes.vectors import genes_of_file, token_model_of

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.token_model import TokenCellModel

__all__ = ["attention_network"]


def attention_network(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel,
    top: int = 300,
    k: int = 10,
    cells: int = 200,
    minimum_cells: int = 10,
    layer_number: int | None = None,
    permutations: int = 5,
    max_fdr: float = 0.05,
    device: str = "auto",
    **reading: Any,
) -> GeneNetwork:
    """Join every gene with those that its token attends to most, and test each pair.

    Parameters
    ----------
    data
        An AnnData, or the path of a table of cells.
    model
        A model that reads tokens.
    top
        How many genes: those that most of the cells hold.
    k
        Genes kept for each gene.
    cells, minimum_cells
        Cells to look at, evenly spaced, and in how many of them a pair must meet.
    layer_number
        One layer, from 0; the mean of all by default.
    permutations
        Of the null.
    max_fdr
        Keep edges up to this false discovery rate; 1 keeps all.
    device
        Where to compute.
    reading
        See :class:`~biolm.jobs.settings.ReadingSettings`.

    Returns
    -------
    Edges from a gene to one it looks at: ``attention`` (times the length of the cell; 1 is attention to all
    alike), ``cells``, ``p_value`` and ``fdr`` over all pairs tested.

    Raises
    ------
    ConfigError
        If the model reads no tokens, or a setting is out of range.
    InputError
        If no pair of genes meets in enough cells.
    """
    from biolm.models.running import pick_device

    settings: ReadingSettings = read_options(ReadingSettings, reading, "attention network")
    if min(top - 1, k, cells, minimum_cells, permutations) < 1:
        raise ConfigError("top must be at least 2; k, cells, minimum cells and permutations at least 1")
    check_rate(max_fdr)
    reader = token_model_of(loaded(model))
    depth = reader.core.config.n_layers
    if layer_number is not None and not 0 <= layer_number < depth:
        raise ConfigError(f"the model has layers 0 to {depth - 1}, not {layer_number}")
    reader.core.to(pick_device(device))
    with open_table(data, matrix=settings.matrix) as source:
        match = bind_genes(source, reader, settings)
        rows = np.unique(np.linspace(0, source.n_cells - 1, min(cells, source.n_cells)).astype(np.int64))
        tokens = reader.tokenize(source.take(rows), match, seed=settings.seed)
        known, names = genes_of_file(source.gene_columns(), match.target)
    token_ids = np.asarray(reader.preprocessor.tokenizer.token_ids)  # type: ignore[attr-defined]  # checked
    # The genes that most cells express: pairs of rare ones meet in too few cells to be tested.
    seen = np.bincount(tokens.ids, minlength=reader.core.config.vocab_size)[token_ids[known]]
    chosen = np.sort(np.argsort(-seen, kind="stable")[:top])
    place = np.full(reader.core.config.vocab_size, -1, np.int64)
    place[token_ids[known[chosen]]] = np.arange(len(chosen))
    rng = np.random.default_rng(settings.seed)
    tables = [_Table(len(chosen)) for _ in range(permutations + 1)]
    with progress("reading attention", len(tokens), show=settings.progress) as advance:
        for genes, attended in _cells(reader, tokens, place, layer_number):
            for number, table in enumerate(tables):
                table.add(genes if number == 0 else rng.permutation(genes), attended)
            advance(1)
    metadata = plain(
        {
            "kind": "attention",
            "model": reader.name,
            "checkpoint": reader.describe(),
            "biolm_version": biolm.__version__,
            "genes": match.report.as_dict(),
            "cells": len(rows),
            "layer": layer_number,
            "permutations": permutations,
            "seed": settings.seed,
        }
    )
    ids = np.array(reader.vocabulary.genes)[known[chosen]]
    return passing(_columns(tables, names[chosen], ids, k, minimum_cells), metadata, max_fdr)


class _Table:
    """Sums over cells for every ordered pair of genes, ``(g, g)``."""

    def __init__(self, genes: int) -> None:
        self.total, self.excess, self.squares, self.count = (np.zeros((genes, genes)) for _ in range(4))

    def add(self, genes: NDArray[np.int64], attended: NDArray[np.float64]) -> None:
        """Add one cell: attention ``(s, s)`` between its genes; each gene is there once."""
        off = ~np.eye(len(genes), dtype=bool)
        kept = np.where(off, attended, 0)
        others = max(len(genes) - 1, 1)
        given, got = kept.sum(1, keepdims=True) / others, kept.sum(0, keepdims=True) / others
        # Genes that attend, or are attended to, everywhere are no edges: rows and columns are taken out.
        excess = attended - given - got + attended[off].mean()
        where = np.ix_(genes, genes)
        self.total[where] += attended
        self.excess[where] += excess
        self.squares[where] += excess**2
        self.count[where] += 1

    def figure(self, minimum: int) -> NDArray[np.float64]:
        """``(g, g)``, NaN where too few cells hold a pair and on the diagonal."""
        usable = (self.count >= minimum) & ~np.eye(len(self.count), dtype=bool) & (self.squares > 0)
        return np.where(usable, self.excess / np.sqrt(np.where(usable, self.squares, 1)), np.nan)


def _cells(
    model: TokenCellModel, tokens: Any, place: NDArray[np.int64], layer: int | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Chosen genes of each cell and the attention between them, times the number of its genes."""
    import torch

    from biolm.core.maps import mean_over_heads

    first, last = model.preprocessor.special
    device = next(model.core.parameters()).device
    for row in range(len(tokens)):
        length = int(tokens.lengths[row]) - first - last
        genes = place[tokens[row].ids[first : first + length]]
        used = np.flatnonzero(genes >= 0)
        if len(used) < 2:
            continue
        maps: list[torch.Tensor] = []

        def receive(by_layer: tuple[torch.Tensor, ...], maps: list[torch.Tensor] = maps) -> None:
            maps.append(mean_over_heads(by_layer[0]).double().cpu())

        with torch.inference_mode():
            batch = Batch.from_tokens(tokens, np.array([row])).to(device)
            model.core(batch, logits=False, attentions=receive)
        mean = (torch.stack(maps).mean(0) if layer is None else maps[layer]).numpy()
        inner = mean[first : first + length, first : first + length]
        # Special tokens take a part that differs between cells; 1 is then what an even gene gets.
        inner = inner / np.maximum(inner.sum(1, keepdims=True), 1e-300) * length
        yield genes[used], inner[np.ix_(used, used)]


def _columns(
    tables: Sequence[_Table], names: NDArray[np.str_], ids: NDArray[np.str_], k: int, minimum: int
) -> dict[str, NDArray[Any]]:
    """The ``k`` strongest edges of every gene, strongest first."""
    figure = tables[0].figure(minimum)
    tested = np.isfinite(figure)
    if not tested.any():
        raise InputError(
            f"no pair of genes meets in {minimum} cells; look at more cells or lower the minimum"
        )
    null = np.sort(np.concatenate([table.figure(minimum).ravel() for table in tables[1:]]))
    null = null[np.isfinite(null)]
    beyond = len(null) - np.searchsorted(null, figure[tested], side="left")
    p_values, rates = np.full(figure.shape, np.nan), np.full(figure.shape, np.nan)
    # One more of each: no p value of 0 from a finite number of permutations (Phipson and Smyth 2010).
    p_values[tested] = (beyond + 1) / (len(null) + 1)
    rates[tested] = adjusted(p_values[tested])
    ranked = np.argsort(-np.nan_to_num(figure, nan=-np.inf), axis=1, kind="stable")[:, :k]
    query, key = np.repeat(np.arange(len(figure)), ranked.shape[1]), ranked.ravel()
    query, key = query[tested[query, key]], key[tested[query, key]]
    order = np.argsort(-figure[query, key], kind="stable")
    pair = (query[order], key[order])
    return {
        "gene": names[pair[0]],
        "neighbour": names[pair[1]],
        "id": ids[pair[0]],
        "neighbour_id": ids[pair[1]],
        "attention": tables[0].total[pair] / tables[0].count[pair],
        "cells": tables[0].count[pair].astype(np.int64),
        "p_value": p_values[pair],
        "fdr": rates[pair],
    }
