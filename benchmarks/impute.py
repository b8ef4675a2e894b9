"""How well masked genes are imputed: ``python benchmarks/impute.py RAW_DATA``.

Rules, sets, baselines and marks stand in ``docs/how-to/impute.md``. Prints Markdown: r of a gene over cells,
mean over masked genes, and r of a cell over masked genes, mean over cells. A quarter of a minute of CPU time.

Dimensions: ``n`` cells · ``g`` genes of a set · ``p`` measured genes · ``m`` masked genes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cellfactors import BLOOD, TISSUE, Cells
from numpy.typing import NDArray
from scipy.stats import spearmanr

from biolm.io.cells.block import CellBlock
from biolm.models.systems import cellfactors
from biolm.models.systems.cellfactors import CellFactors

OTHER = dict.fromkeys(BLOOD, "pbmc3k_2638") | {"pbmc3k_2638": "kang_ctrl_5donors"}
DRAWS, PANEL, DETECTED, COMPONENTS = 2, 200, 0.05, 20
METHODS = ("factors", "fit's mean", "mean, same set", "PCA, same set", "mean, other set", "PCA, other set")
KINDS = ("a fifth masked", f"all but {PANEL} masked")


@dataclass(frozen=True, eq=False)
class Part:
    """Counts ``(n, g)`` of cells of one set, and the human row of each gene that has loadings, else -1."""

    counts: Any
    rows: NDArray[np.int64]

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Columns of some human rows, all of which are measured."""
        place = {row: column for column, row in enumerate(self.rows.tolist()) if row >= 0}
        return np.array([place[row] for row in rows.tolist()])

    def logs(self, columns: NDArray[np.int64], *, of_panel: bool) -> NDArray[np.float64]:
        """log(1 + 10,000 x / t), t over the columns or over all genes."""
        some = self.counts[:, columns].toarray().astype(np.float64)
        totals = some.sum(1) if of_panel else np.asarray(self.counts.sum(1)).ravel()
        return np.log1p(1e4 * some / np.maximum(totals, 1)[:, None])


def parts(cells: Cells, model: CellFactors) -> tuple[Part, Part]:
    """The reference (even cells) and the query (odd cells)."""
    counts = cells.table.X.tocsr()
    target = model.vocabulary.match(cells.columns, minimum=0).target
    human = np.where(target >= 0, model.text.human[target], -1).astype(np.int64)
    first = np.zeros(len(human), bool)
    first[np.unique(human, return_index=True)[1]] = True
    # A gene with loadings once: of several columns of one gene the first is scored.
    rows = np.where(first & np.isin(human, model.rows), human, -1)
    return Part(counts[::2], rows), Part(counts[1::2], rows)


def masks(known: NDArray[np.int64], kind: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Measured and masked human rows, for each draw."""
    for seed in range(DRAWS):
        order = np.random.default_rng([seed, KINDS.index(kind)]).permutation(known)
        cut = len(order) - len(order) // 5 if kind == KINDS[0] else PANEL
        yield np.sort(order[:cut]), np.sort(order[cut:])


def by_factors(
    model: CellFactors, cells: Cells, query: Part, masked: NDArray[np.int64], measured: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Imputed values ``(n, m)``, and the r² that is expected of each gene.

    Where a fifth is masked, genes that are not scored are measured too.
    """
    kept = ~np.isin(query.rows, masked) if len(measured) > PANEL else np.isin(query.rows, measured)
    counts = query.counts[:, np.flatnonzero(kept)].tocsr()
    columns = {name: values[kept] for name, values in cells.columns.items()}
    indices, indptr = counts.indices.astype(np.int32), counts.indptr.astype(np.int64)
    block = CellBlock(0, counts.data, indices, indptr, counts.shape[1])
    imputer = model.imputer(model.vocabulary.match(columns, minimum=0))
    human = model.text.human[imputer.rows]
    place = dict(zip(human.tolist(), range(len(human)), strict=True))
    genes = np.array([place[row] for row in masked.tolist()])
    return imputer.values(block, genes).astype(np.float64), imputer.columns(genes)["expected_r2"]


def by_components(
    reference: Part, query: Part, measured: NDArray[np.int64], masked: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means ``(m,)`` of the masked genes over the reference, and what its components say of the query."""
    known = reference.logs(reference.columns(measured), of_panel=True)
    wanted = reference.logs(reference.columns(masked), of_panel=False)
    asked = query.logs(query.columns(measured), of_panel=True)
    left, sizes, axes = np.linalg.svd(known - known.mean(0), full_matrices=False)
    count = min(COMPONENTS, len(sizes))
    slopes = (left[:, :count] / sizes[:count]).T @ (wanted - wanted.mean(0))
    return wanted.mean(0), wanted.mean(0) + (asked - asked.mean(0)) @ axes[:count].T @ slopes


def correlations(truth: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's r of each column; 0 for a constant one."""
    a, b = truth - truth.mean(0), values - values.mean(0)
    lengths = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.where(lengths > 1e-9, (a * b).sum(0) / np.maximum(lengths, 1e-9), 0)


def scored(model: CellFactors, sets: dict[str, Cells], name: str, kind: str) -> dict[str, tuple[float, ...]]:
    """Mean r of genes and of cells by method, over the draws."""
    reference, query = parts(sets[name], model)
    other = parts(sets[OTHER[name]], model)[0] if name in OTHER else None
    seen = np.asarray((query.counts > 0).mean(0)).ravel() >= DETECTED
    known = query.rows[seen & (query.rows >= 0)]
    if other is not None:
        known = np.intersect1d(known, other.rows)
    found: dict[str, list[tuple[float, ...]]] = {}
    for measured, masked in masks(np.sort(known), kind):
        truth = query.logs(query.columns(masked), of_panel=False)
        values, expected = by_factors(model, sets[name], query, masked, measured)
        guesses = {"factors": values}
        guesses["fit's mean"] = model.means[np.searchsorted(model.rows, masked)][None].repeat(len(truth), 0)
        for place, given in (("same", reference), ("other", other)):
            if given is not None:
                mean, linear = by_components(given, query, measured, masked)
                guesses[f"mean, {place} set"] = mean[None].repeat(len(truth), 0)
                guesses[f"PCA, {place} set"] = linear
        for method, values in guesses.items():
            genes, cells = correlations(truth, values), correlations(truth.T, values.T)
            found.setdefault(method, []).append((float(genes.mean()), float(cells.mean())))
        rank = spearmanr(np.sqrt(np.maximum(expected, 0)), correlations(truth, guesses["factors"]))[0]
        found.setdefault("expected", []).append((float(rank), float(len(masked))))
    return {method: tuple(np.mean(pairs, 0).tolist()) for method, pairs in found.items()}


def main(raw: Path) -> None:
    """Print the tables."""
    model = cellfactors.load()
    sets = {name: Cells(name, raw / "cells") for name in (*BLOOD, *TISSUE)}
    for kind in KINDS:
        rows = {name: scored(model, sets, name, kind) for name in sets}
        for place, title in enumerate(("r of a gene over cells", "r of a cell over genes")):
            # A mean has no r over cells.
            methods = [method for method in METHODS if place or "mean" not in method]
            print(f"\n| {kind}: {title} | masked | " + " | ".join(methods) + " |")
            print("| --- | --- |" + " --- |" * len(methods))
            for name, row in rows.items():
                cells = [f"{row[method][place]:.3f}" if method in row else "" for method in methods]
                print(f"| {name} | {row['expected'][1]:.0f} | {' | '.join(cells)} |")
            for group, some in (("mean of blood", BLOOD), ("mean of all", tuple(sets))):
                means = [
                    f"{np.mean([rows[name][method][place] for name in some]):.3f}"
                    if all(method in rows[name] for name in some)
                    else ""
                    for method in methods
                ]
                print(f"| **{group}** | | {' | '.join(means)} |")
        ranks = ", ".join(f"{rows[name]['expected'][0]:.2f}" for name in sets)
        print(f"\nSpearman's correlation of expected and measured r over genes, by set: {ranks}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
