"""How far vectors carry when cells are shallower or genes are missing: intact reference, damaged queries.

Dimensions: ``n`` cells · ``g`` genes · ``d`` width of a vector · ``p`` points of a curve · ``r`` draws.

Half of the cells, intact, are the reference; the others lose counts (each kept by chance) or whole genes and
are embedded again. A query takes the type of its nearest reference cells. Principal components are fitted on
the reference alone; a missing gene counts as 0 for them, while the model is not shown it at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.models.base import CellModel
from biolm.tasks.baselines import COMPONENTS, fit_knn, predictions
from biolm.tasks.evaluate.data import EvaluationData
from biolm.tasks.evaluate.probes import LabelCurve
from biolm.tasks.evaluate.settings import EvaluateSettings
from biolm.tasks.fit import loaded
from biolm.tasks.progress import log
from biolm.tasks.quality import fit_pca, macro_f1
from biolm.tasks.splits import fraction, holdout

__all__ = ["GENES_KEPT", "READS_KEPT", "robustness", "thinned"]

READS_KEPT = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
GENES_KEPT = (0.1, 0.25, 0.5, 0.75, 1.0)
# A model of tokens embeds each query eleven times a draw: enough cells for a curve, not more.
CELLS, DRAWS = 1000, 3

# Vectors of cells given as counts ``(n, g)`` and the columns that were measured.
Project = Callable[[Any, NDArray[np.int64]], NDArray[np.float32]]


def robustness(
    data: EvaluationData, model: str | Path | CellModel, settings: EvaluateSettings
) -> tuple[LabelCurve, LabelCurve]:
    """Macro-F1 by share of reads kept, and by share of genes kept.

    Parameters
    ----------
    model
        Embeds the damaged cells anew.

    Returns
    -------
    Two curves of the model and of principal components.

    Raises
    ------
    InputError
        If the matrix does not hold whole counts.
    """
    network = loaded(model)
    values = data.counts.data
    if len(values) and not np.array_equal(values, np.rint(values)):
        raise InputError("down-sampling reads needs raw counts; name their layer, or leave --model out")
    rows = fraction(data.labels, min(1.0, CELLS / len(data.labels)), seed=settings.seed)
    names = (network.name, f"PCA-{COMPONENTS}")
    draws = min(DRAWS, settings.draws)
    reads = LabelCurve(READS_KEPT, {name: np.empty((draws, len(READS_KEPT))) for name in names})
    genes = LabelCurve(GENES_KEPT, {name: np.empty((draws, len(GENES_KEPT))) for name in names})
    with _hushed():
        for draw in range(draws):
            seed = settings.seed + draw
            split = holdout(data.labels[rows], share=0.5, copies=data.copies[rows], seed=seed)
            reference, query = rows[split.train], rows[split.test]
            projects = (
                _by_model(data, network, settings),
                _by_components(data.counts[reference], seed),
            )
            for name, project in zip(names, projects, strict=True):
                judge = _Judge(data, reference, query, project)
                reads.values[name][draw] = [
                    judge(thinned(data.counts[query], share, seed), None) for share in READS_KEPT
                ]
                genes.values[name][draw] = [
                    judge(data.counts[query], _some_genes(data.counts.shape[1], share, seed))
                    for share in GENES_KEPT
                ]
    return reads, genes


def thinned(counts: Any, share: float, seed: int) -> Any:
    """Sparse counts of which each single one was kept with the chance ``share``."""
    table = counts.copy()
    if share < 1:
        rng = np.random.default_rng(seed)
        table.data = rng.binomial(table.data.astype(np.int64), share).astype(table.data.dtype)
        table.eliminate_zeros()
    return table


class _Judge:
    """Scores damaged queries against an intact reference."""

    def __init__(
        self, data: EvaluationData, reference: NDArray[np.int64], query: NDArray[np.int64], project: Project
    ) -> None:
        self.every = np.arange(data.counts.shape[1])
        self.project = project
        self.classes, codes = np.unique(data.labels, return_inverse=True)
        self.truth = codes[query].astype(np.int64)
        self.known = fit_knn(project(data.counts[reference], self.every), data.labels[reference])

    def __call__(self, counts: Any, genes: NDArray[np.int64] | None) -> float:
        vectors = self.project(counts, self.every if genes is None else genes)
        called = np.searchsorted(self.classes, predictions(self.known, vectors))
        return float(macro_f1(self.truth, called.astype(np.int64))[0])


def _some_genes(genes: int, share: float, seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng(seed).permutation(genes)
    return np.sort(order[: max(1, round(share * genes))])


def _by_model(data: EvaluationData, network: CellModel, settings: EvaluateSettings) -> Project:
    import anndata

    from biolm.tasks.embed import embed

    def project(counts: Any, genes: NDArray[np.int64]) -> NDArray[np.float32]:
        cells = anndata.AnnData(counts[:, genes], var=data.table.var.iloc[genes])
        # Thinned cells may hold so few counts that their share of known genes is an accident.
        embed(
            cells,
            model=network,
            key="X_again",
            seed=settings.seed,
            gene_column=settings.gene_column,
            species=settings.species,
            minimum_match=settings.minimum_match,
            allow_normalised=settings.allow_normalised,
        )
        return np.asarray(cells.obsm["X_again"])

    return project


def _by_components(reference: Any, seed: int) -> Project:
    fitted = fit_pca(reference, components=COMPONENTS, seed=seed)

    def project(counts: Any, genes: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(genes) == counts.shape[1]:
            return fitted(counts)
        from scipy.sparse import diags

        kept = np.zeros(counts.shape[1])
        kept[genes] = 1
        return fitted(counts @ diags(kept))

    return project


@contextmanager
def _hushed() -> Iterator[None]:
    """Dozens of small embeddings say nothing about genes and empty cells."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def summary(values: NDArray[np.float64]) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation over the draws, ``(p,)`` each."""
    spread = values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    return values.mean(0).tolist(), spread.tolist()
