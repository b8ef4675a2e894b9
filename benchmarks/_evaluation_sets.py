"""Three labelled sets of blood cells to evaluate vectors of cells on, by all genes and by small panels.

Dimensions: ``n`` cells · ``g`` genes of a set · ``p`` genes that all sets measure.

No cell of ``NAMES`` may be trained on. Labels score and do nothing else. Settings are chosen on ``CHOOSING``,
whose cells a model may have seen without their labels, and evaluated on ``NAMES`` once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from _cell_types import SAME
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock
from biolm.models.model import CellModel, EmbedOptions
from biolm.models.systems.genetext import centre
from biolm.scoring.quality import fit_pca, knn_quality, transfer_quality
from biolm.vocab.match import GeneMatch

__all__ = ["CHOOSING", "NAMES", "Method", "Table", "by_model", "by_pca", "panel", "read", "score_all"]

NAMES = ("pbmc_cite_10k", "pbmc3k_2638", "zheng_purified_2007")
CHOOSING = ("kang_ctrl_stim", "pbmc_3chemistries_1500", "pbmc68k_reduced_counts_700")
SIZES = (500, 200)
CELLS, FEWEST = 700, 10
# A gene of a panel is found in at least this fraction of every set: nobody orders a probe that stays dark.
DETECTED = 0.02


@dataclass(frozen=True, eq=False)
class Table:
    """Counts of one set, on some of its genes.

    Parameters
    ----------
    name
        Of the set.
    counts
        ``(n, g)`` sparse.
    genes
        Columns ``(g,)`` of names.
    labels
        ``(n,)`` cell types; empty where there is none to score.
    """

    name: str
    counts: Any
    genes: dict[str, NDArray[np.str_]]
    labels: NDArray[np.str_]

    @property
    def common(self) -> NDArray[np.str_]:
        """``(n,)`` types as all sets spell them."""
        return np.array([SAME.get(label, label) for label in self.labels])

    def only(self, names: set[str]) -> Table:
        """The set as if no other gene had been measured: totals are those of the panel, too."""
        kept = np.flatnonzero(np.isin(self.genes["index"], list(names)))
        genes = {key: column[kept] for key, column in self.genes.items()}
        return Table(self.name, self.counts[:, kept], genes, self.labels)

    @cached_property
    def block(self) -> CellBlock:
        """All cells."""
        c = self.counts
        return CellBlock(0, c.data, c.indices.astype(np.int32), c.indptr.astype(np.int64), c.shape[1])

    def match(self, model: CellModel) -> GeneMatch:
        """Where the genes go; a panel may be a small part of them."""
        return model.vocabulary.match(self.genes, minimum=0.0, species="human")


Method = Callable[[Table, Table], tuple[NDArray[Any], NDArray[Any]] | None]
"""Vectors of two sets in one space; a fit sees the first alone. None: impossible."""


def read(folder: Path, names: tuple[str, ...] = NAMES) -> list[Table]:
    """The sets, at most ``CELLS`` cells each, evenly spaced; types of under ``FEWEST`` lose their label."""
    import anndata

    tables = []
    for name in names:
        held = anndata.read_h5ad(folder / f"{name}.h5ad")
        held = held[held.obs["cell_type"].notna()]
        held = held[:: -(-held.n_obs // CELLS)]
        labels = held.obs["cell_type"].astype(str).to_numpy()
        types, sizes = np.unique(labels, return_counts=True)
        labels = np.where(np.isin(labels, [*types[sizes < FEWEST], "other", "nan"]), "", labels)
        genes = {
            "index": np.asarray(held.var_names, dtype=str),
            "ensembl_id": held.var["ensembl_id"].to_numpy(str),
        }
        tables.append(Table(name, held.X.tocsr(), genes, labels))
    return tables


def panel(tables: list[Table], size: int, seed: int) -> set[str]:
    """Names of random genes that all sets measure and see; none where those are fewer."""
    seen = []
    for table in tables:
        share = np.asarray((table.counts > 0).mean(0)).ravel()
        seen.append(set(table.genes["index"][share >= DETECTED]))
    known = sorted(set.intersection(*seen))
    if len(known) < size:
        return set()
    return set(np.random.default_rng([seed, size]).choice(known, size, replace=False).tolist())


def halves(tables: list[Table], seed: int) -> tuple[set[str], set[str]]:
    """Names of all genes, split in two at random."""
    names = sorted(set().union(*(table.genes["index"].tolist() for table in tables)))
    first = np.random.default_rng([seed, 2]).random(len(names)) < 0.5
    return {n for n, here in zip(names, first, strict=True) if here}, {
        n for n, here in zip(names, first, strict=True) if not here
    }


def by_model(model: CellModel, *, centred: bool = True, pool: str | None = None) -> Method:
    """Vectors of a model, the mean of the set removed, as the demo does for every method."""

    def vectors(table: Table) -> NDArray[Any]:
        options = EmbedOptions(device="cpu", batch_tokens=8192, pool=pool)
        found = model.embed(table.block, table.match(model), options)
        return centre(found) if centred else found

    # A table is hashed by identity: each is embedded once for all pairs it takes part in.
    embed = lru_cache(maxsize=16)(vectors)
    return lambda known, asked: (embed(known), embed(asked))


def by_pca(components: int) -> Method:
    """Principal components of the genes that both sets measure, fitted on the first."""

    def method(known: Table, asked: Table) -> tuple[NDArray[Any], NDArray[Any]] | None:
        shared = np.intersect1d(known.genes["index"], asked.genes["index"])
        if len(shared) <= components:
            return None
        counts = [table.counts[:, [_place(table)[name] for name in shared]] for table in (known, asked)]
        project = fit_pca(counts[0], components=components)
        vectors = project(counts[0])
        return centre(vectors), vectors if known is asked else centre(project(counts[1]))

    return method


@lru_cache(maxsize=64)
def _place(table: Table) -> dict[str, int]:
    return {name: column for column, name in enumerate(table.genes["index"])}


def score_all(method: Method, tables: list[Table], seeds: int, splits: int) -> dict[str, float]:
    """Macro-F1 by question, set and seed.

    ``within/…`` and ``transfer/…`` on all genes, ``halves/…`` on disjoint halves of them, the first two also
    on random panels (``within@500/…``); ``seeds`` panels of each size and ``splits`` splits into halves.
    """
    found = _within(method, tables, "within", 0) | _transfer(method, tables, "transfer", 0)
    for seed in range(splits):
        first, second = halves(tables, seed)
        parted = [(table.only(first), table.only(second)) for table in tables]
        for a, (known, _) in enumerate(parted):
            for b, (_, asked) in enumerate(parted):
                if a != b and (score := _move(method, known, asked)) is not None:
                    found[f"halves/{known.name}>{asked.name}/{seed}"] = score
    for seed in range(seeds):
        for size in SIZES:
            genes = panel(tables, size, seed)
            if not genes:
                continue
            few = [table.only(genes) for table in tables]
            found |= _within(method, few, f"within@{size}", seed) | _transfer(
                method, few, f"transfer@{size}", seed
            )
    return found


def _within(method: Method, tables: list[Table], question: str, seed: int) -> dict[str, float]:
    found = {}
    for table in tables:
        pair = method(table, table)
        assert pair is not None
        score = knn_quality(pair[0], table.labels, repeats=3, seed=seed)
        found[f"{question}/{table.name}/{seed}"] = score.macro_f1
    return found


def _transfer(method: Method, tables: list[Table], question: str, seed: int) -> dict[str, float]:
    found = {}
    for known in tables:
        for asked in tables:
            if known is not asked and (score := _move(method, known, asked)) is not None:
                found[f"{question}/{known.name}>{asked.name}/{seed}"] = score
    return found


def _move(method: Method, known: Table, asked: Table) -> float | None:
    pair = method(known, asked)
    if pair is None:
        return None
    return transfer_quality(pair[0], known.common, pair[1], asked.common, leave_out=[""]).macro_f1
