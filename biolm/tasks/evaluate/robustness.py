"""How far vectors carry when cells are shallower or genes are missing: intact reference, damaged queries.

Dimensions: ``n`` cells · ``g`` genes · ``d`` width of a vector · ``p`` points of a curve · ``r`` draws.

Half of the cells, intact, are the reference; the others lose counts (each kept by chance) or whole genes and
are embedded again. A query takes the type of its nearest reference cells. Principal components and logistic
regression on all genes are fitted on the reference alone; a missing gene counts as 0 for them, while a model
is not shown it at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.models.model import CellModel
from biolm.progress import log
from biolm.scoring.baselines import BASELINES, fit_knn, predictions
from biolm.scoring.quality import macro_f1
from biolm.scoring.splits import fraction, holdout
from biolm.tasks.evaluate.data import EvaluationData, embedded
from biolm.tasks.evaluate.methods import L1, PCA
from biolm.tasks.evaluate.probes import LabelCurve
from biolm.tasks.evaluate.settings import EvaluateSettings

__all__ = ["GENES_KEPT", "READS_KEPT", "downsampled", "robustness", "summary"]

READS_KEPT = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
GENES_KEPT = (0.1, 0.25, 0.5, 0.75, 1.0)
# A model of tokens embeds each query eleven times a draw: enough cells for a curve, not more.
CELLS, DRAWS = 1000, 3

# Types of cells given as counts ``(n, g)`` and the columns that were measured.
Call = Callable[[Any, NDArray[np.int64]], NDArray[np.str_]]


def robustness(
    data: EvaluationData, settings: EvaluateSettings
) -> tuple[LabelCurve, LabelCurve] | tuple[None, None]:
    """Macro-F1 by fraction of reads kept, and by fraction of genes kept.

    Parameters
    ----------
    data
        The scored cells.
    settings
        Choices of the job.

    Returns
    -------
    Two curves of every embedding whose model is at hand, of principal components and of L1 logistic
    regression; None where there is no such model, or the matrix does not hold whole counts.
    """
    if not data.networks:
        return None, None
    values = data.counts.data
    # Binomial thinning keeps each read or not: it is defined on numbers of reads alone.
    if len(values) and not np.array_equal(values, np.rint(values)):
        log.warning("no curves of robustness: down-sampling reads needs raw counts; name their layer")
        return None, None
    rows = fraction(data.labels, min(1.0, CELLS / len(data.labels)), seed=settings.seed)
    names = (*data.networks, PCA, L1)
    draws = min(DRAWS, settings.draws)
    reads = LabelCurve(READS_KEPT, {name: np.empty((draws, len(READS_KEPT))) for name in names})
    genes = LabelCurve(GENES_KEPT, {name: np.empty((draws, len(GENES_KEPT))) for name in names})
    for draw in range(draws):
        log.info("fewer reads and genes: draw %d of %d", draw + 1, draws)
        seed = settings.seed + draw
        # Queries are damaged, the reference is not: an atlas is good, a new sample is poor.
        split = holdout(data.labels[rows], share=0.5, copies=data.copies[rows], seed=seed)
        reference, query = rows[split.train], rows[split.test]
        with _hushed():
            for name in names:
                evaluate = _Evaluation(data, query, _fitted(name, data, reference, settings, seed))
                reads.values[name][draw] = [
                    evaluate(downsampled(data.counts[query], kept, seed), None) for kept in READS_KEPT
                ]
                genes.values[name][draw] = [
                    evaluate(data.counts[query], _some_genes(data.counts.shape[1], kept, seed))
                    for kept in GENES_KEPT
                ]
    return reads, genes


def downsampled(counts: Any, keep: float, seed: int) -> Any:
    """Sparse counts of which each single one was kept with the chance ``keep``.

    Parameters
    ----------
    counts
        Sparse ``(n, g)``.
    keep
        Fraction of the reads that is kept.
    seed
        Of the draw.
    """
    table = counts.copy()
    if keep < 1:
        rng = np.random.default_rng(seed)
        table.data = rng.binomial(table.data.astype(np.int64), keep).astype(table.data.dtype)
        table.eliminate_zeros()
    return table


class _Evaluation:
    """Scores calls of damaged queries."""

    def __init__(self, data: EvaluationData, query: NDArray[np.int64], call: Call) -> None:
        self.every = np.arange(data.counts.shape[1])
        self.call = call
        self.classes, codes = np.unique(data.labels, return_inverse=True)
        self.truth = codes[query].astype(np.int64)

    def __call__(self, counts: Any, genes: NDArray[np.int64] | None) -> float:
        called = np.searchsorted(self.classes, self.call(counts, self.every if genes is None else genes))
        return float(macro_f1(self.truth, called.astype(np.int64))[0])


def _some_genes(genes: int, keep: float, seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng(seed).permutation(genes)
    # The first of one random order: genes kept at 10 % are among those kept at 25 %.
    return np.sort(order[: max(1, round(keep * genes))])


def _fitted(
    name: str, data: EvaluationData, reference: NDArray[np.int64], settings: EvaluateSettings, seed: int
) -> Call:
    """The classifier of one method, fitted on the intact reference."""
    counts, labels = data.counts[reference], data.labels[reference]
    if name in data.networks:
        return _by_model(data, data.networks[name], counts, labels, settings)
    fit = BASELINES["PCA-50 + kNN" if name == PCA else L1]
    fitted = fit(counts, labels, seed)
    return lambda more, genes: predictions(fitted, _without_others(more, genes))


def _by_model(
    data: EvaluationData,
    network: CellModel,
    counts: Any,
    labels: NDArray[np.str_],
    settings: EvaluateSettings,
) -> Call:
    import anndata

    quiet = replace(settings, progress=False)

    def project(counts: Any, genes: NDArray[np.int64]) -> NDArray[np.float32]:
        return embedded(anndata.AnnData(counts[:, genes], var=data.table.var.iloc[genes]), network, quiet)

    known = fit_knn(project(counts, np.arange(counts.shape[1])), labels)
    return lambda more, genes: predictions(known, project(more, genes))


def _without_others(counts: Any, genes: NDArray[np.int64]) -> Any:
    """Counts whose other genes are 0."""
    if len(genes) == counts.shape[1]:
        return counts
    from scipy.sparse import diags

    kept = np.zeros(counts.shape[1])
    kept[genes] = 1
    # Baselines were fitted on all genes, so missing ones are zeros to them; a model is told which it has.
    return counts @ diags(kept)


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
