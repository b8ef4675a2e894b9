"""What the factor model is worth: ``python benchmarks/cellfactors.py RAW_DATA [OPTION]``.

Rules, sets and marks stand in ``docs/explanation/default-model.md``. Prints Markdown: a row a set or pair,
then means and differences to genetext. ``--fits`` scores other fits of the same model instead (two seeds, no
blood), ``--more`` adds biolm-cell-mini and CELLama, ``--cellama`` scores CELLama beside genetext and the
shipped fit alone, over all genes. About five minutes of CPU time, ten with ``--fits``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from _cell_types import SAME
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock
from biolm.models import registry
from biolm.models.model import CellModel, EmbedOptions
from biolm.models.systems import cellfactors, genetext
from biolm.resources import shipped
from biolm.scoring.quality import (
    Score,
    difference,
    fit_pca,
    knn_quality,
    log_normalised,
    pooled,
    transfer_quality,
    variable_columns,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data/cellfactors"))
import make

from biolm.tasks.factors.fit import fit_to_files
from biolm.tasks.factors.settings import FitSettings

BLOOD = (
    "pbmc3k_2638",
    "kang_ctrl_5donors",
    "pbmc_3chemistries_1500",
    "pbmc_cite_10k",
    "pbmc68k_reduced_counts_700",
    "zheng_purified_2007",
)
TISSUE = ("paul15_mouse_2660", "mouse_pancreas_baron1", "pancreas_baron_hm_350")
PAIRS = ((0, 2), (1, 0), (2, 1), (2, 0), (3, 4), (4, 3), (5, 3), (5, 4))
CELLS, FEWEST, DRAWS, FEW_GENES = 700, 10, 2, 200
SLOW, ANY = ("cell-mini", "CELLama"), ("CELLama",)
"""Models that are scored over all genes alone; those of them that read mouse cells."""


@dataclass(frozen=True)
class Cells:
    """A labelled set of at most 700 cells."""

    name: str
    folder: Path

    @cached_property
    def table(self) -> object:
        """Cells of types with ten or more."""
        import anndata

        held = anndata.read_h5ad(self.folder / f"{self.name}.h5ad")
        held = held[:: -(-held.n_obs // CELLS)]
        labels = held.obs["cell_type"].astype(str).to_numpy()
        names, sizes = np.unique(labels, return_counts=True)
        return held[~np.isin(labels, [*names[sizes < FEWEST], "other", "nan"])].copy()

    @cached_property
    def labels(self) -> NDArray[np.str_]:
        """``(n,)``."""
        return self.table.obs["cell_type"].astype(str).to_numpy()

    @property
    def common(self) -> NDArray[np.str_]:
        """Labels as all blood sets spell them."""
        return np.array([SAME.get(name, name) for name in self.labels])

    @cached_property
    def _whole(self) -> dict[int, tuple[CellModel, NDArray[np.float32]]]:
        """Vectors over all genes by the model's id, which no other gets while the model is held."""
        return {}

    @cached_property
    def columns(self) -> dict[str, NDArray[np.str_]]:
        """What names the genes."""
        return {
            "index": np.asarray(self.table.var_names, dtype=str),
            "ensembl_id": np.asarray(self.table.var["ensembl_id"], dtype=str),
        }

    def vectors(self, model: CellModel, genes: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Centred vectors, of the columns ``genes (g,)`` alone where given."""
        if genes is None:
            if id(model) not in self._whole:
                self._whole[id(model)] = model, self._vectors(model, None)
            return self._whole[id(model)][1]
        return self._vectors(model, genes)

    def _vectors(self, model: CellModel, genes: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        counts = self.table.X.tocsr()
        columns = self.columns
        if genes is not None:
            counts = counts[:, genes]
            columns = {name: values[genes] for name, values in columns.items()}
        indices, indptr = counts.indices.astype(np.int32), counts.indptr.astype(np.int64)
        block = CellBlock(0, counts.data, indices, indptr, counts.shape[1])
        match = model.vocabulary.match(columns, minimum=0)
        return genetext.centre(model.embed(block, match, EmbedOptions()))

    def half(self, seed: int) -> NDArray[np.bool_]:
        """``(g,)`` a half of the genes by their human name: the same half in every set."""
        target = genetext_rows(self)
        drawn = np.random.default_rng(seed).random(int(target.max(initial=0)) + 200_000) < 0.5
        return drawn[target]

    def some(self, seed: int) -> NDArray[np.bool_]:
        """``(g,)`` 200 genes that the gene-text model knows."""
        known = np.flatnonzero(genetext_rows(self) >= 0)
        chosen = np.zeros(self.table.n_vars, bool)
        chosen[np.random.default_rng(seed).permutation(known)[:FEW_GENES]] = True
        return chosen


def genetext_rows(cells: Cells) -> NDArray[np.int32]:
    """Human row of every column in the vocabulary of genetext, -1 for none."""
    found = TEXT.vocabulary.match(cells.columns, minimum=0).target
    return np.where(found >= 0, TEXT.human[found], -1)


TEXT = genetext.load()


def questions(sets: dict[str, Cells]) -> Iterator[tuple[str, str, Callable[[CellModel], Score]]]:
    """Kind, title and how a model is scored."""
    for name, cells in sets.items():
        yield "within", name, lambda model, cells=cells: within(cells.vectors(model), cells)
    names = list(sets)
    for a, b in ((sets[names[i]], sets[names[j]]) for i, j in PAIRS):
        yield "transfer", f"{a.name} > {b.name}", lambda model, a=a, b=b: transfer(model, a, b)
    for a, b in ((sets[names[i]], sets[names[j]]) for i, j in PAIRS):
        yield (
            "halves",
            f"{a.name} | {b.name}",
            lambda model, a=a, b=b: drawn(lambda seed: transfer(model, a, b, a.half(seed), ~b.half(seed))),
        )
    for name in TISSUE:
        yield "halves", name, lambda model, cells=sets[name]: drawn(lambda seed: parted(model, cells, seed))
    for name, cells in sets.items():
        yield (
            "200 within",
            name,
            lambda model, cells=cells: drawn(
                lambda seed: within(cells.vectors(model, cells.some(seed)), cells)
            ),
        )
    for a, b in ((sets[names[i]], sets[names[j]]) for i, j in PAIRS):
        yield (
            "200 transfer",
            f"{a.name} > {b.name}",
            lambda model, a=a, b=b: drawn(lambda seed: transfer(model, a, b, None, b.some(seed))),
        )


def drawn(score: Callable[[int], Score]) -> Score:
    """Mean over draws of genes."""
    return pooled([score(seed) for seed in range(DRAWS)], name="")


def within(vectors: NDArray[np.float32], cells: Cells) -> Score:
    """Macro-F1 within one set."""
    return knn_quality(vectors, cells.labels, repeats=1)


def transfer(model: CellModel, a: Cells, b: Cells, of_a: object = None, of_b: object = None) -> Score:
    """Label transfer from a to b."""
    return transfer_quality(a.vectors(model, of_a), a.common, b.vectors(model, of_b), b.common)


def parted(model: CellModel, cells: Cells, seed: int) -> Score:
    """Label transfer from the even cells with half the genes to the odd ones with the others."""
    half, even = cells.half(seed), np.arange(len(cells.labels)) % 2 == 0
    known, asked = cells.vectors(model, half)[even], cells.vectors(model, ~half)[~even]
    return transfer_quality(known, cells.labels[even], asked, cells.labels[~even])


def baselines(kind: str, title: str, sets: dict[str, Cells]) -> dict[str, Score]:
    """What needs no model."""
    if kind == "within":
        counts = sets[title].table.X
        logs = log_normalised(counts)
        variable = np.asarray(logs[:, variable_columns(logs, 2000)].todense())
        points = {f"PCA-{d}": fit_pca(counts, components=d)(counts) for d in (20, 50)}
        points["2,000 variable genes"] = variable - variable.mean(0)
        return {name: within(vectors, sets[title]) for name, vectors in points.items()}
    if kind == "transfer":
        a, b = (sets[name] for name in title.split(" > "))
        shared = a.table.var_names.intersection(b.table.var_names)
        known, asked = a.table[:, shared].X, b.table[:, shared].X
        project = fit_pca(known)
        asked = project(asked)
        return {"PCA-20": transfer_quality(project(known), a.common, asked - asked.mean(0), b.common)}
    return {}


def models(raw: Path, arguments: list[str]) -> dict[str, list[CellModel]]:
    """Models by name; several draws are averaged."""
    shipped_model = cellfactors.load()
    found: dict[str, list[CellModel]] = {"genetext": [TEXT]}
    if "--fits" in arguments:
        files = [raw / name for name in (*make.BLOOD, *make.OTHERS)]
        for seed in (1, 2):
            found[f"cellfactors, seed {seed}"] = [fit_to_files(files, FitSettings(seed=seed))]
        found["fitted without blood"] = [fit_to_files([raw / name for name in make.OTHERS], FitSettings())]
        gaussian = genetext.load(shipped("genetext/control"))
        found["Gaussian numbers for text"] = [replace(shipped_model, text=gaussian)]
        return found
    found["cellfactors"] = [shipped_model]
    if "--cellama" in arguments:
        return {**found, "CELLama": [registry.load("cellama")]}
    if "--more" in arguments:
        found["cell-mini"] = [registry.load("biolm-cell-mini")]
        found["CELLama"] = [registry.load("cellama")]
    found["random"] = [genetext.random_like(TEXT, draw, width=1000) for draw in range(DRAWS)]
    return found


def main(raw: Path, arguments: list[str]) -> None:
    """Print the tables."""
    sets = {name: Cells(name, raw / "cells") for name in (*BLOOD, *TISSUE)}
    known = models(raw, arguments)
    rows: dict[str, list[dict[str, Score]]] = {}
    for kind, title, score in questions(sets):
        if "--cellama" in arguments and kind not in ("within", "transfer"):
            continue
        row = {
            name: pooled([score(one) for one in several], name=name)
            for name, several in known.items()
            if name not in SLOW or (kind in ("within", "transfer") and (name in ANY or "mouse" not in title))
        } | ({} if {"--fits", "--cellama"} & set(arguments) else baselines(kind, title, sets))
        rows.setdefault(kind, []).append(row)
        shown = ", ".join(f"{name} {one.macro_f1:.3f}" for name, one in row.items())
        print(f"- {kind}: {title}: {shown}", flush=True)
    for kind, scored in rows.items():
        print(f"\n| {kind}, mean of {len(scored)} | macro-F1 | minus genetext | no worse on |")
        print("| --- | --- | --- | --- |")
        for name in scored[0]:
            having = [row for row in scored if name in row]
            gaps = np.array([difference(row[name], row["genetext"]) for row in having])
            # Sets are independent, so the variance of the mean is the mean variance over their number.
            error = 1.96 * np.sqrt((((gaps[:, 2] - gaps[:, 1]) / 3.92) ** 2).sum()) / len(gaps)
            mean, gap = np.mean([row[name].macro_f1 for row in having]), gaps[:, 0].mean()
            print(
                f"| {name} | {mean:.3f} | {gap:+.3f} [{gap - error:+.3f}, {gap + error:+.3f}] "
                f"| {(gaps[:, 0] >= 0).sum()} of {len(gaps)} |"
            )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
