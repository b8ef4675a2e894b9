"""What the demo asks of the default model, each question beside its controls.

Dimensions: ``n`` cells · ``g`` genes of a file · ``d`` width.

The controls: gene text alone, the same made from random numbers instead of text, random gene vectors with
nothing fitted, principal components of the counts, the counts of variable genes, and the majority class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.models.model import CellModel, EmbedOptions
from biolm.models.systems import cellfactors, genetext
from biolm.models.systems.genetext import centre
from biolm.resources import shipped
from biolm.scoring.quality import (
    Score,
    fit_pca,
    knn_quality,
    log_normalised,
    majority_quality,
    pooled,
    transfer_quality,
    variable_columns,
)
from biolm.scoring.verdicts import against_best, compared

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ALIKE",
    "CONTROL",
    "MODEL",
    "SETS",
    "TEXT",
    "Baselines",
    "CellSet",
    "Question",
    "gene_half",
    "measure",
    "open_set",
    "read_set",
]

MODEL = DEFAULT_MODEL
TEXT = "genetext"
LEAVE_OUT = ("other",)
DRAWS = 5
# Wide enough that a wider control does no better.
CONTROL_WIDTH = 1000
ALIKE = "random numbers, axes fitted alike"
COMPONENTS = (20, 50)
VARIABLE = 2000
CONTROL = f"random gene vectors ({CONTROL_WIDTH:,} wide)"

# Names that both sets share, to move labels from one to the other; types of one set alone are left out.
COMMON_TYPES = {
    "CD14+ Monocyte": "CD14 mono",
    "CD19+ B": "B",
    "CD56+ NK": "NK",
    "CD8+ Cytotoxic T": "CD8 T",
    "CD8+/CD45RA+ Naive Cytotoxic": "CD8 T",
    "CD4+/CD25 T Reg": "CD4 T",
    "CD4+/CD45RO+ Memory": "CD4 T",
    "CD4+/CD45RA+/CD25- Naive T": "CD4 T",
}
SETS = {"pbmc_cite_10k": "PBMC, CITE-seq (200 cells)", "pbmc68k_reduced_counts_700": "PBMC 68k (700 cells)"}


@dataclass(frozen=True, eq=False)
class CellSet:
    """A labelled set of cells in memory, its genes matched to the model.

    Parameters
    ----------
    title
        Name for people.
    path
        The file.
    table
        The AnnData.
    block
        Its counts.
    match
        Where each gene lies in the model's vocabulary.
    """

    title: str
    path: Path
    table: Any
    block: CellBlock
    match: Any

    @property
    def labels(self) -> NDArray[np.str_]:
        """``(n,)`` names of cell types."""
        return np.asarray(self.table.obs["cell_type"]).astype(str)

    @property
    def common(self) -> NDArray[np.bool_]:
        """``(n,)`` whether the cell's type stands in both sets."""
        return np.isin(self.common_labels, list(COMMON_TYPES.values()))

    @property
    def common_labels(self) -> NDArray[np.str_]:
        """``(n,)`` names as both sets spell them."""
        return np.array([COMMON_TYPES.get(name, name) for name in self.labels])

    def vectors(self, model: CellModel, genes: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """``(n, d)`` centred over the set, from the vocabulary's ``genes (m,)`` alone where given.

        Parameters
        ----------
        model
            The model.
        genes
            ``(m,)`` rows of its vocabulary that it may read; all by default.
        """
        match = self.match
        if genes is not None:
            # A gene left out is as one that the file never measured: it has no place in the vocabulary.
            target = np.where((match.target >= 0) & genes[match.target], match.target, -1)
            match = replace(match, target=target.astype(np.int32))
        return centre(model.embed(self.block, match, EmbedOptions()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One table of the demo.

    Parameters
    ----------
    title, note
        What is asked, and how it was scored.
    scores
        The model first, its three controls next, then baselines.
    impossible
        Names of baselines that cannot be computed here.
    verdict
        Sentences in plain words, worked out from the scores.
    """

    title: str
    note: str
    scores: tuple[Score, ...]
    verdict: tuple[str, ...]
    impossible: tuple[str, ...] = ()


def open_set(name: str, model: CellModel) -> CellSet:
    """Read one of the shipped sets.

    Parameters
    ----------
    name
        Of the set.
    model
        Whose genes are matched.
    """
    return read_set(shipped(f"cells/{name}.h5ad"), SETS[name], model)


def read_set(path: Path, title: str, model: CellModel) -> CellSet:
    """Read an h5ad with counts as ``X`` and ``obs["cell_type"]`` whole, and match its genes to the model.

    Parameters
    ----------
    path
        Of the h5ad.
    title
        Of the set.
    model
        Whose genes are matched.
    """
    import anndata

    table = anndata.read_h5ad(path)
    counts = table.X.tocsr()
    indices, indptr = counts.indices.astype(np.int32), counts.indptr.astype(np.int64)
    block = CellBlock(0, counts.data, indices, indptr, counts.shape[1])
    columns = {"index": np.asarray(table.var_names, dtype=str)}
    if "ensembl_id" in table.var:
        columns["ensembl_id"] = np.asarray(table.var["ensembl_id"], dtype=str)
    return CellSet(title, path, table, block, model.vocabulary.match(columns))


def gene_half(model: CellModel, seed: int) -> NDArray[np.bool_]:
    """``(m,)`` which genes of the vocabulary the first set keeps; the second keeps the others.

    Parameters
    ----------
    model
        Whose genes are split.
    seed
        Of the draw.
    """
    return np.random.default_rng(seed).random(len(model.vocabulary)) < 0.5


@dataclass(frozen=True, eq=False)
class Baselines:
    """The model and its controls.

    Parameters
    ----------
    model
        The default model.
    text
        Gene text alone.
    alike
        Random numbers instead of text, their axes found on the same unlabelled cells in the same way: what
        it does as well as the text is owed to those cells, not to the text.
    random
        Random gene vectors of several seeds, nothing fitted.
    """

    model: CellModel
    text: CellModel
    alike: CellModel
    random: tuple[CellModel, ...]

    @classmethod
    def load(cls, seed: int) -> Baselines:
        """The models and the fitted control as shipped, random vectors from the seed."""
        text = genetext.load()
        random = (genetext.random_like(text, seed + draw, width=CONTROL_WIDTH) for draw in range(DRAWS))
        alike = genetext.load(shipped("genetext/control"))
        return cls(cellfactors.load(text=text), text, alike, tuple(random))

    def scores(self, score: Callable[[CellModel, int], Score], draws: int = 1) -> tuple[Score, ...]:
        """Model, gene text, fitted control and random control, each the mean over its draws.

        Parameters
        ----------
        score
            Scores a model, given the model and the number of a draw.
        draws
            How many for all but the random control.
        """
        return (
            pooled([score(self.model, draw) for draw in range(draws)], name=MODEL),
            pooled([score(self.text, draw) for draw in range(draws)], name=TEXT),
            pooled([score(self.alike, draw) for draw in range(draws)], name=ALIKE),
            # Each draw has random vectors of its own, so that the mean is over both kinds of chance.
            pooled([score(each, draw) for draw, each in enumerate(self.random)], name=CONTROL),
        )


def measure(baselines: Baselines, *, seed: int = 0) -> list[Question]:
    """Answer the demo's questions about the default model.

    Parameters
    ----------
    baselines
        The model and its controls.
    seed
        Seeds folds and gene splits.
    """
    cite, pbmc = (open_set(name, baselines.model) for name in SETS)
    return [
        *(_within(cells, baselines, seed) for cells in (cite, pbmc)),
        _shared_genes(cite, pbmc, baselines, seed),
        _disjoint_genes(cite, pbmc, baselines, seed),
    ]


def _within(cells: CellSet, baselines: Baselines, seed: int) -> Question:
    def score(name: str, vectors: NDArray[Any]) -> Score:
        return knn_quality(vectors, cells.labels, name=name, leave_out=LEAVE_OUT, seed=seed)

    points = _baselines_within(cells.table.X, seed)
    components = [score(name, vectors) for name, vectors in points.items()]
    scores = baselines.scores(lambda model, _: score("", cells.vectors(model)))
    return Question(
        title=f"Within one set: {cells.title}",
        note="Cell type by vote of the 10 nearest cells (cosine); 5-fold cross-validation, 5 repeats. All "
        "vectors are centred over the set, without labels.",
        scores=(*scores, *components, majority_quality(cells.labels, leave_out=LEAVE_OUT)),
        verdict=_verdict(scores, components),
    )


def _baselines_within(counts: Any, seed: int) -> dict[str, NDArray[Any]]:
    """Components of one set, and the counts of its variable genes (all where there are few), by name."""
    points = {
        f"PCA-{count}, all genes": fit_pca(counts, components=count, seed=seed)(counts)
        for count in COMPONENTS
    }
    few = counts.shape[1] <= VARIABLE
    if not few:
        variable = fit_pca(counts, variable_genes=VARIABLE, seed=seed)(counts)
        points[f"PCA-20, {VARIABLE:,} variable genes"] = variable
    logs = log_normalised(counts)
    chosen = logs if few else logs[:, variable_columns(logs, VARIABLE)]
    dense = np.asarray(chosen.todense())
    points[f"log counts, {'all' if few else f'{VARIABLE:,} variable'} genes"] = dense - dense.mean(0)
    return points


def _shared_genes(reference: CellSet, query: CellSet, baselines: Baselines, seed: int) -> Question:
    move = _mover(reference, query)
    common = reference.table.var_names.intersection(query.table.var_names)
    counts, asked = reference.table[:, common].X, query.table[:, common].X
    components = []
    for count in COMPONENTS:
        project = fit_pca(counts, components=count, seed=seed)
        name = f"PCA-{count} of the first set, shared genes"
        # Components of the first set alone: a query that comes later had no part in them.
        components.append(move(name, project(counts), project(asked)))
    known, other = (np.asarray(log_normalised(table).todense()) for table in (counts, asked))
    # Both sets about the mean of the first, as components are; about their own means these score lower.
    components.append(move("log counts, shared genes", known - known.mean(0), other - known.mean(0)))
    scores = baselines.scores(lambda model, _: move("", reference.vectors(model), query.vectors(model)))
    return Question(
        title="Label transfer from the first set to the second, all genes",
        note=f"Each cell of the second set takes the label of its 10 nearest cells of the first; the sets "
        f"share {len(common)} genes. Types that both sets have.",
        scores=(*scores, *components, _floor(query)),
        verdict=_verdict(scores, components),
    )


def _disjoint_genes(reference: CellSet, query: CellSet, baselines: Baselines, seed: int) -> Question:
    move = _mover(reference, query)
    halves = [gene_half(baselines.model, seed + draw) for draw in range(DRAWS)]

    def transfer(model: CellModel, draw: int) -> Score:
        return move("", reference.vectors(model, halves[draw]), query.vectors(model, ~halves[draw]))

    scores = baselines.scores(transfer, DRAWS)
    return Question(
        title="Label transfer between sets that share no gene",
        note=f"As above, but the model's genes are split at random: the first set keeps one half, the second "
        f"the other ({DRAWS} splits).",
        scores=(*scores, _floor(query)),
        verdict=_verdict(scores, []),
        impossible=("PCA-20", "PCA-50", "log counts"),
    )


def _mover(reference: CellSet, query: CellSet) -> Callable[[str, NDArray[Any], NDArray[Any]], Score]:
    def move(name: str, known: NDArray[Any], asked: NDArray[Any]) -> Score:
        return transfer_quality(known, reference.common_labels, asked, query.common_labels, name=name)

    return move


def _floor(query: CellSet) -> Score:
    """Majority class over the cells that a transfer scores."""
    return majority_quality(query.common_labels[query.common])


def _verdict(scores: Sequence[Score], baselines: Sequence[Score]) -> tuple[str, ...]:
    """What the numbers say: the model against its three controls and against the best baseline."""
    model, *others = scores
    sentences = [compared(model, other) for other in others]
    return (*sentences, against_best(model, baselines)) if baselines else tuple(sentences)
