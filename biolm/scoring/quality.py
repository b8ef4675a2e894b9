"""Zero-shot quality of cell vectors, with the controls that belong beside it.

Dimensions: ``n`` cells · ``d`` width of a vector · ``g`` genes · ``c`` cell types · ``r`` repeats of the
cross-validation · ``s`` bootstrap samples.

No model is trained here: a cell takes the majority label of its nearest neighbours. Labels are used for
nothing else. Everything is seeded.

Neighbours are near by angle (cosine distance), for every method alike: by Euclidean distance the length of a
vector counts too, which follows how deep a cell was sequenced, and wide vectors, random ones above all, look
worse than they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError

__all__ = [
    "Score",
    "difference",
    "fit_pca",
    "knn_quality",
    "log_normalised",
    "macro_f1",
    "majority_quality",
    "pooled",
    "score_calls",
    "transfer_quality",
    "unit_rows",
    "variable_columns",
]

BOOTSTRAP_SAMPLES = 1000
NEIGHBOURS, FOLDS = 10, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well vectors predict labels.

    Parameters
    ----------
    name
        What was scored.
    macro_f1, accuracy
        Mean over the repeats of the cross-validation.
    low, high
        95 % interval of ``macro_f1``: percentile bootstrap over cells, within each cell type. It holds the
        uncertainty of which cells were measured, not that of other donors or laboratories.
    truth
        ``(n,)`` class numbers.
    predictions
        ``(r, n)`` predicted class numbers, -1 for a class that ``truth`` does not hold.
    """

    name: str
    macro_f1: float
    low: float
    high: float
    accuracy: float
    truth: NDArray[np.int64]
    predictions: NDArray[np.int64]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, rounded to six decimals."""
        numbers = {
            key: round(float(getattr(self, key)), 6) for key in ("macro_f1", "low", "high", "accuracy")
        }
        return {"name": self.name, **numbers, "cells": len(self.truth)}


def macro_f1(
    truth: NDArray[np.int64], predictions: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Unweighted mean of the F1 of every class that ``truth`` holds.

    Parameters
    ----------
    truth, predictions
        ``(n,)`` class numbers.
    weights
        ``(s, n)`` how often each cell counts; once by default.

    Returns
    -------
    ``(s,)`` values between 0 and 1.

    Examples
    --------
    >>> macro_f1(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])).round(3).tolist()
    [0.733]
    """
    weights = np.ones((1, len(truth))) if weights is None else weights
    classes = np.unique(truth)
    is_class = (truth[:, None] == classes).astype(float)  # (n, c)
    is_called = (predictions[:, None] == classes).astype(float)  # (n, c)
    hits = weights @ (is_class * is_called)  # (s, c)
    return np.asarray((2 * hits / (weights @ is_class + weights @ is_called)).mean(1))


def knn_quality(
    vectors: ArrayLike,
    labels: ArrayLike,
    *,
    name: str = "",
    leave_out: Sequence[str] = (),
    repeats: int = 5,
    seed: int = 0,
) -> Score:
    """Cross-validated k-nearest-neighbour prediction of labels within one set of cells.

    Stratified folds, cosine distance, every neighbour counts the same. Macro-F1 is taken over the pooled
    predictions of the folds, so that a rare type missing from one fold does no harm.

    Parameters
    ----------
    vectors
        ``(n, d)``.
    labels
        ``(n,)`` names.
    leave_out
        Labels that are no cell type, such as ``other``; their cells are neither scored nor neighbours.

    Raises
    ------
    InputError
        If a type has fewer cells than folds, or fewer than two types are left.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> types = np.repeat(["B", "NK"], 20)
    >>> vectors = rng.normal(size=(40, 3)) + np.where(types == "B", 5, -5)[:, None]
    >>> knn_quality(vectors, types).macro_f1
    1.0
    """
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neighbors import KNeighborsClassifier

    keep, truth = _encode(labels, leave_out, at_least=FOLDS)
    points = unit_rows(vectors)[keep]
    predictions = np.empty((repeats, len(truth)), np.int64)
    for repeat in range(repeats):
        splits = StratifiedKFold(FOLDS, shuffle=True, random_state=seed + repeat)
        for train, test in splits.split(points, truth):
            classifier = KNeighborsClassifier(min(NEIGHBOURS, len(train))).fit(points[train], truth[train])
            predictions[repeat, test] = classifier.predict(points[test])
    return score_calls(name, truth, predictions, seed)


def majority_quality(labels: ArrayLike, *, leave_out: Sequence[str] = ()) -> Score:
    """The score of calling every cell the commonest type: the floor of every table.

    Parameters
    ----------
    labels
        ``(n,)`` types.
    leave_out
        Types that do not count.
    """
    _, truth = _encode(labels, leave_out)
    commonest = np.bincount(truth).argmax()
    return score_calls("majority class", truth, np.full((1, len(truth)), commonest))


def transfer_quality(
    reference: ArrayLike,
    reference_labels: ArrayLike,
    query: ArrayLike,
    query_labels: ArrayLike,
    *,
    name: str = "",
    leave_out: Sequence[str] = (),
) -> Score:
    """Label transfer from one set of cells to another by nearest neighbours (cosine distance).

    Only cells whose label stands in both sets take part.

    Parameters
    ----------
    reference, query
        ``(n, d)`` and ``(m, d)`` vectors in one space.

    Raises
    ------
    InputError
        If fewer than two labels are common.
    """
    from sklearn.neighbors import KNeighborsClassifier

    common = (set(np.asarray(reference_labels)) & set(np.asarray(query_labels))) - set(leave_out)
    aside = (set(np.asarray(reference_labels)) | set(np.asarray(query_labels))) - common
    known, source = _encode(reference_labels, sorted(aside))
    asked, truth = _encode(query_labels, sorted(aside))
    classifier = KNeighborsClassifier(min(NEIGHBOURS, len(known))).fit(unit_rows(reference)[known], source)
    return score_calls(name, truth, classifier.predict(unit_rows(query)[asked])[None])


def difference(
    first: Score, second: Score, *, metric: str = "macro_f1", level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """A metric of ``first`` minus that of ``second`` on the same cells, with its paired bootstrap interval.

    Both are measured on the same resampled cells, so what makes a sample easy for both drops out of the
    difference (the paired bootstrap of Koehn 2004); the interval is of percentiles (Efron and Tibshirani
    1993). Cells are resampled within their class, as in :func:`score_calls`.

    Parameters
    ----------
    first, second
        Scores of the same cells.
    metric
        ``macro_f1`` or ``accuracy``.
    level
        Coverage of the interval.
    seed
        Seeds the bootstrap.

    Raises
    ------
    InputError
        If the two scores are of different cells.
    """
    if not np.array_equal(first.truth, second.truth):
        raise InputError(
            f"{first.name} and {second.name} were scored on different cells; score both on the same"
        )
    weights = _resampled(first.truth, seed)

    def measured(score: Score) -> NDArray[np.float64]:
        if metric == "macro_f1":
            return _mean_f1(score.truth, score.predictions, weights)
        return np.asarray(weights @ (score.predictions == score.truth).mean(0) / len(score.truth))

    gaps = measured(first) - measured(second)
    low, high = np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2])
    return getattr(first, metric) - getattr(second, metric), float(low), float(high)


def pooled(scores: Sequence[Score], *, name: str, seed: int = 0) -> Score:
    """One score of several draws (random controls, gene splits) on the same cells: the mean over the draws.

    Parameters
    ----------
    scores
        Of the draws.
    name
        Of the pooled score.
    seed
        Of the bootstrap.

    Raises
    ------
    InputError
        If the draws were scored on different cells.
    """
    if any(not np.array_equal(score.truth, scores[0].truth) for score in scores):
        raise InputError(f"the draws of {name} were scored on different cells; score all on the same")
    return score_calls(name, scores[0].truth, np.concatenate([score.predictions for score in scores]), seed)


def fit_pca(
    counts: Any, *, components: int = 20, variable_genes: int | None = None, seed: int = 0
) -> Callable[[Any], NDArray[np.float32]]:
    """Principal components of log1p(counts per 10,000): the baseline of every table.

    Centred, not scaled. Fitted without labels on every cell of ``counts``; that is as much as a model sees
    whose vectors are centred over the set.

    Parameters
    ----------
    counts
        ``(n, g)`` scipy sparse matrix or array of raw counts.
    components
        ``d``, capped by the table's size.
    variable_genes
        Keep this many highly variable genes (scanpy's default rule), as most analyses do; all by default.

    Returns
    -------
    A function that projects ``(m, g)`` raw counts of the same genes to ``(m, d)``.
    """
    from sklearn.decomposition import PCA

    table = log_normalised(counts)
    genes = slice(None) if variable_genes is None else variable_columns(table, variable_genes)
    fitted = PCA(min(components, min(table.shape) - 1), svd_solver="arpack", random_state=seed)
    fitted.fit(table[:, genes])
    return lambda more: np.asarray(fitted.transform(log_normalised(more)[:, genes]), dtype=np.float32)


def variable_columns(table: Any, count: int) -> Any:
    """Columns of the most variable genes of a log-normalised table.

    Parameters
    ----------
    table
        ``(n, g)``, log-normalised.
    count
        How many genes.
    """
    if count >= table.shape[1]:
        return slice(None)
    import anndata
    import scanpy

    cells = anndata.AnnData(table)
    scanpy.pp.highly_variable_genes(cells, n_top_genes=count)
    return np.flatnonzero(cells.var["highly_variable"])


def log_normalised(counts: Any) -> Any:
    """Sparse ``(n, g)`` log1p of counts per 10,000; empty cells stay zero."""
    from scipy.sparse import csr_matrix, diags

    table = csr_matrix(counts, dtype=np.float64)
    totals = np.asarray(table.sum(1)).ravel()
    return (diags(1e4 / np.where(totals > 0, totals, 1.0)) @ table).tocsr().log1p()


def unit_rows(vectors: ArrayLike) -> NDArray[np.float64]:
    """Rows of length 1, whose Euclidean order is that of the angle; rows of zeros stay zero."""
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))


def _encode(
    labels: ArrayLike, leave_out: Sequence[str], at_least: int = 1
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Rows that take part, and their class numbers in alphabetical order of the names."""
    names = np.asarray(labels).astype(str)
    keep = np.flatnonzero(~np.isin(names, [*leave_out, "nan", ""]))
    classes, truth, sizes = np.unique(names[keep], return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise InputError(
            f"a score needs at least two cell types, but {len(classes)} are left; check the labels"
        )
    if sizes.min() < at_least:
        rare = str(classes[sizes.argmin()])
        raise InputError(
            f"type {rare!r} has {sizes.min()} cells but {at_least} folds need one each; leave it out"
        )
    return keep, truth.astype(np.int64)


def _resampled(truth: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """``(s, n)`` bootstrap weights, drawn within each class so that no class disappears."""
    rng = np.random.default_rng(seed)
    weights = np.empty((BOOTSTRAP_SAMPLES, len(truth)))
    for label in np.unique(truth):
        members = np.flatnonzero(truth == label)
        probability = np.full(len(members), 1 / len(members))
        weights[:, members] = rng.multinomial(len(members), probability, BOOTSTRAP_SAMPLES)
    return weights


def _mean_f1(
    truth: NDArray[np.int64], predictions: NDArray[np.int64], weights: Any = None
) -> NDArray[np.float64]:
    """``(s,)`` macro-F1, mean over the repeats."""
    return np.asarray(np.mean([macro_f1(truth, row, weights) for row in predictions], axis=0))


def score_calls(name: str, truth: NDArray[np.int64], predictions: NDArray[np.int64], seed: int = 0) -> Score:
    """Score calls that were made elsewhere.

    Parameters
    ----------
    name
        What is scored.
    truth
        ``(n,)`` class numbers.
    predictions
        ``(r, n)`` called class numbers of each repeat.
    seed
        Seeds the bootstrap.
    """
    low, high = np.quantile(_mean_f1(truth, predictions, _resampled(truth, seed)), [0.025, 0.975])
    return Score(
        name=name,
        macro_f1=float(_mean_f1(truth, predictions)[0]),
        low=float(low),
        high=float(high),
        accuracy=float((predictions == truth).mean()),
        truth=truth,
        predictions=predictions.astype(np.int64),
    )
