"""How the built-in model was chosen: ``python benchmarks/genetext_choices.py RAW_DATA CACHE``.

Every choice is changed one at a time from a start; the shipped one is the start with a stronger ridge. Two
groups of labelled sets are kept apart: on the first the choices were made, the second was only looked at
afterwards. No label enters a vector. Prints the tables of ``docs/explanation/default-model.md``; about twenty
minutes of CPU time after MiniLM has run.
Dimensions: ``n`` cells · ``m`` genes · ``h`` human genes · ``f`` text features · ``d`` axes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data/genetext"))
import axes
import make
import texts
from _cell_types import SAME

from biolm.scoring.quality import fit_pca, knn_quality, transfer_quality

CELLS, DRAWS, FEWEST = 700, 5, 10
CHOSEN_ON = ("pbmc3k_2638", "kang_ctrl_5donors", "pbmc_3chemistries_1500", "paul15_mouse_2660")
HELD_OUT = ("pbmc_cite_10k", "pbmc68k_reduced_counts_700", "zheng_purified_2007")
PAIRS = {
    CHOSEN_ON: [(0, 2), (1, 0), (2, 1), (2, 0)],
    HELD_OUT: [(0, 1), (1, 0), (2, 0), (2, 1)],
}


@dataclass(frozen=True)
class Choice:
    """One way to make cell vectors; the defaults are the start of the search."""

    text: str = "name | processes"
    weight: str = "^0.75"
    rarity: bool = True
    whiten: bool = False
    count: int = make.AXES
    ridge: float = 0.03
    scale: bool = True
    without: tuple[str, ...] = ()
    drop: int = 0
    centre: str = "mean"
    blood: bool = True
    seed: int | None = None

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Sets that factors and axes are found on."""
        return tuple(name for name in make.CELLS if self.blood or "pbmc" not in name)


SHIPPED = Choice(ridge=make.RIDGE)
NO_TEXT = "none: Gaussian numbers"
TEXTS = (
    "name",
    "symbol: name",
    "processes",
    "name. processes, one text",
    "name + processes, averaged",
    NO_TEXT,
)


@dataclass
class Lab:
    """Everything that several choices share."""

    raw: Path
    cache: Path
    kept: dict[tuple, object] = field(default_factory=dict)

    @cached_property
    def genes(self) -> make.Genes:
        """Genes of both species."""
        return make.read_genes(self.raw)

    def once(self, key: tuple, make_it: Callable[[], object]) -> object:
        """Work that is done once for a key."""
        if key not in self.kept:
            self.kept[key] = make_it()
        return self.kept[key]

    def features(self, text: str) -> NDArray[np.float64]:
        """``(h, f)`` text features."""
        human = self.genes.human
        both = self.once(("both",), lambda: texts.features(human, self.cache).astype(np.float64))
        width = both.shape[1] // 2
        if text == "name":
            return both[:, :width]
        if text == NO_TEXT:
            return np.random.default_rng(0).standard_normal(both.shape)
        if text == "processes":
            return both[:, width:]
        if text == Choice.text:
            return both
        if text == "name + processes, averaged":
            return both[:, :width] + both[:, width:]
        written = {
            "symbol: name": [f"{gene.symbol}: {gene.name}" for gene in human],
            "name. processes, one text": [
                f"{gene.name}. {'; '.join(gene.processes)}" if gene.processes else gene.name for gene in human
            ],
        }[text]
        found = texts.encode(written, self.cache).astype(np.float64)
        return found - found.mean(0)

    def counts(self, name: str, most: int = axes.MOST_CELLS) -> csr_matrix:
        """``(n, m)`` counts of known genes."""
        path = self.raw / (name if "/" in name else f"cells/{name}.h5ad")
        return self.once(("counts", name, most), lambda: axes.read_counts(path, self.genes.rows, most))

    def labels(self, name: str) -> NDArray[np.str_]:
        """``(n,)`` labels of the cells that :meth:`counts` takes; empty where there is none to score."""
        import anndata

        def read() -> NDArray[np.str_]:
            held = anndata.read_h5ad(self.raw / f"cells/{name}.h5ad", backed="r")
            found = held.obs["cell_type"].astype(str).to_numpy()[:: -(-held.n_obs // CELLS)]
            names, sizes = np.unique(found, return_counts=True)
            rare = [*names[sizes < FEWEST], "other", "nan"]
            return np.where(np.isin(found, rare), "", found)

        return self.once(("labels", name), read)

    def factors(self, choice: Choice) -> NDArray[np.float64]:
        """``(h,)`` what the weight of a gene is multiplied with."""
        counts = [self.counts(name) for name in choice.unlabelled]
        rare = self.once(("rarity", choice.blood), lambda: axes.rarity(counts, self.genes.families))
        kept = [not gene.symbol.startswith(choice.without or "?") for gene in self.genes.human]
        return (rare if choice.rarity else np.ones(len(kept))) * np.array(kept)

    def vectors(self, choice: Choice) -> NDArray[np.float64]:
        """``(m, d)`` gene vectors."""
        features = self.features(choice.text)
        if choice.seed is not None:
            drawn = np.random.default_rng(choice.seed).standard_normal((len(features), choice.count))
            return self.genes.spread(drawn)
        if choice.whiten:
            _, sizes, directions = np.linalg.svd(features, full_matrices=False)
            span = slice(choice.drop, choice.drop + choice.count)
            found = features @ directions[span].T
            return self.genes.spread(found / sizes[span] if choice.scale else found)
        key = ("moments", choice.text, choice.weight, choice.rarity, choice.without, choice.blood)
        everywhere = self.genes.spread(features), self.genes.spread(self.factors(choice))

        def measured(name: str) -> axes.Moments:
            weights = weigh(self.counts(name), choice.weight)
            return axes.moments(axes.weighted(weights, everywhere[1]), everywhere[0])

        sets = self.once(key, lambda: [measured(name) for name in choice.unlabelled])
        found, reliability = make.fitted(sets, features, choice.count, choice.ridge)
        return self.genes.spread(found if choice.scale else found / reliability)

    def cells(
        self, name: str, choice: Choice, vectors: NDArray[np.float64], half: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """``(n, d)`` vectors of a labelled set, of the genes of ``half (m,)`` alone where given."""
        counts = self.counts(name, CELLS)
        if half is not None:
            counts = csr_matrix(counts @ diags(half.astype(float)))
            counts.eliminate_zeros()
        key = ("weights", name, choice.weight, None if half is None else hash(half.tobytes()))
        weights = self.once(key, lambda: weigh(counts, choice.weight))
        found = axes.weighted(weights, self.genes.spread(self.factors(choice))) @ vectors
        return centred(found, choice.centre)

    def score(self, choice: Choice, names: tuple[str, ...]) -> dict[str, float]:
        """Macro-F1 of a choice: within sets, of label transfer over all genes and over disjoint genes."""
        vectors = self.vectors(choice)
        whole = {name: self.cells(name, choice, vectors) for name in names}
        found = {name: within(whole[name], self.labels(name)) for name in names}
        halves = [np.random.default_rng(draw).random(len(vectors)) < 0.5 for draw in range(3)]
        for a, b in ((names[i], names[j]) for i, j in PAIRS[names]):
            found[f"{a} > {b}"] = self.transfer(a, whole[a], b, whole[b])
            parted = [
                [self.cells(name, choice, vectors, kept) for name, kept in ((a, half), (b, ~half))]
                for half in halves
            ]
            found[f"{a} | {b}"] = float(
                np.mean([self.transfer(a, known, b, asked) for known, asked in parted])
            )
        return found

    def transfer(
        self, a: str, from_cells: NDArray[np.float64], b: str, to_cells: NDArray[np.float64]
    ) -> float:
        """Macro-F1 of label transfer from set ``a`` to set ``b``."""
        ours, theirs = (np.array([SAME.get(name, name) for name in self.labels(x)]) for x in (a, b))
        return transfer_quality(from_cells, ours, to_cells, theirs, leave_out=[""]).macro_f1


def weigh(counts: csr_matrix, how: str) -> csr_matrix:
    """``(n, m)`` weights of genes before their factors."""
    if how.startswith("^"):
        return make.powered(counts, float(how[1:]))
    values = counts.copy()
    if how == "log1p CP10k":
        totals = np.maximum(np.asarray(counts.sum(1)).ravel(), 1)
        values = csr_matrix(diags(1e4 / totals) @ counts)
        values.data = np.log1p(values.data)
    else:  # rank: 1 for the highest value of a cell, near 0 for the lowest
        for start, stop in zip(values.indptr[:-1], values.indptr[1:], strict=True):
            _, place = np.unique(values.data[start:stop], return_inverse=True)
            values.data[start:stop] = (place + 1) / (place.max(initial=0) + 1)
    return values


def centred(cells: NDArray[np.float64], how: str) -> NDArray[np.float64]:
    """Cell vectors after the centring of a choice."""
    if how == "none":
        return cells
    cells = cells - cells.mean(0)
    return cells / cells.std(0) if how == "standardise" else cells


def within(cells: NDArray[np.float64], labels: NDArray[np.str_]) -> float:
    """Macro-F1 within one set."""
    return knn_quality(cells, labels, repeats=1).macro_f1


def choices() -> Iterable[tuple[str, Choice]]:
    """What was tried, by name."""
    base = Choice()
    yield "start", base
    yield "shipped", SHIPPED
    for text in TEXTS:
        yield f"text: {text}", replace(base, text=text)
    for weight in ("log1p CP10k", "rank", "^0", "^0.5", "^1"):
        yield f"weight: {weight}", replace(base, weight=weight)
    yield "all genes weigh the same", replace(base, rarity=False)
    yield "the same, MT- RPL RPS left out", replace(base, rarity=False, without=("MT-", "RPL", "RPS"))
    for count, ridge in product((16, 32, 48, 64, 96, 128), (0.01, 0.03, 0.3)):
        if (count == base.count) != (ridge == base.ridge):
            yield f"axes: {count}, ridge {ridge}", replace(base, count=count, ridge=ridge)
    yield "shipped, but fitted without blood", replace(SHIPPED, blood=False)
    yield "the same without text", replace(SHIPPED, blood=False, text=NO_TEXT)
    yield "axes not scaled by reliability", replace(base, scale=False)
    for centre in ("none", "standardise"):
        yield f"centring: {centre}", replace(base, centre=centre)
    white = replace(base, whiten=True, count=100)
    yield "axes: whitened, 100", white
    yield "axes: principal components, 100", replace(white, scale=False)
    for drop in (1, 3):
        yield f"the same, first {drop} removed", replace(white, scale=False, drop=drop)
    plain = replace(white, weight="log1p CP10k", rarity=False, without=("MT-", "RPL", "RPS"))
    yield "whitened 100, log1p, standardised (the usual recipe)", replace(plain, centre="standardise")


def summary(found: dict[str, float]) -> list[float]:
    """Means within sets, over all genes, and over disjoint genes."""
    kinds = [[], [], []]
    for name, value in found.items():
        kinds[1 if ">" in name else 2 if "|" in name else 0].append(value)
    return [float(np.mean(values)) for values in kinds]


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Key by key."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def main(raw: Path, cache: Path) -> None:
    """Print the tables."""
    lab = Lab(raw, cache)
    print("| choice | within | transfer | disjoint | held out: within | transfer | disjoint |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, choice in choices():
        rows = [summary(lab.score(choice, names)) for names in (CHOSEN_ON, HELD_OUT)]
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in np.ravel(rows))} |", flush=True)
    print("\n| set, or from > to | genetext | the same without text | random vectors | PCA-20 | PCA-50 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for names in (CHOSEN_ON, HELD_OUT):
        compared = [
            lab.score(SHIPPED, names),
            lab.score(replace(SHIPPED, text=NO_TEXT), names),
            mean_of([lab.score(replace(SHIPPED, seed=seed), names) for seed in range(DRAWS)]),
        ]
        for key in compared[0]:
            cells = [found[key] for found in compared]
            counts = lab.counts(key, CELLS) if key in names else None
            for components in (20, 50) if key in names else ():
                points = fit_pca(counts, components=components)(counts)
                cells.append(within(points, lab.labels(key)))
            title = f"{key.replace(' | ', ' > ')}, disjoint genes" if "|" in key else key
            print(f"| {title} | {' | '.join(f'{value:.3f}' for value in cells)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
