"""How well classes are told apart: the numbers of the published benchmarks.

Dimensions: ``n`` sequences · ``c`` classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from biolm.scoring.baselines import Predictor

__all__ = ["HEADLINES", "BenchmarkScore", "headline_of", "score_predictor"]

HEADLINES = {"genomic": "accuracy", "gue": "mcc", "nt": "mcc", "proteingym": "spearman"}
"""The number that a benchmark is known by."""

_DRAWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScore:
    """One method on one data set.

    Parameters
    ----------
    benchmark
        A key of :data:`~biolm.tasks.evaluate.benchmarks.layouts.BENCHMARKS`.
    dataset, method
        What was scored, and how.
    metric
        Which of ``numbers`` the benchmark is known by.
    low, high
        95 % percentile interval of it, by bootstrap over the test sequences.
    numbers
        All of them, by name; NaN where one does not exist.
    train, test
        Sequences to learn from and to evaluate on.
    classes
        How many; 0 where numbers are predicted.
    """

    benchmark: str
    dataset: str
    method: str
    metric: str
    low: float
    high: float
    numbers: dict[str, float] = field(default_factory=dict)
    train: int
    test: int
    classes: int

    @property
    def value(self) -> float:
        """The number that the benchmark is known by."""
        return self.numbers[self.metric]


def headline_of(layout: str, dataset: str) -> str:
    """The metric of a data set: GUE takes the macro F1 for the variants of a virus, MCC for all others.

    Parameters
    ----------
    layout
        Name of the collection.
    dataset
        Of it.

    Examples
    --------
    >>> headline_of("gue", "virus/covid"), headline_of("gue", "EMP/H3")
    ('macro_f1', 'mcc')
    """
    return "macro_f1" if layout == "gue" and "covid" in dataset.lower() else HEADLINES[layout]


def score_predictor(
    predictor: Predictor, table: object, truth: NDArray[np.str_], metric: str, seed: int
) -> tuple[dict[str, float], float, float]:
    """Accuracy, macro F1, Matthews correlation and AUC, and the interval of one of them.

    Parameters
    ----------
    predictor
        What calls the classes.
    table
        ``(n, ·)`` what it reads.
    truth
        ``(n,)`` names of the true classes.
    metric
        Whose interval is wanted: ``accuracy``, ``macro_f1`` or ``mcc``.
    seed
        Of the bootstrap.

    Returns
    -------
    Numbers by name, and the lower and upper end of the interval. The AUC of more than two classes is the mean
    of each against the rest; classes that the test set lacks are left out of it.
    """
    shares = predictor.predict_proba(table)
    called = predictor.classes[shares.argmax(1)]
    # Of both: a class of the test side that was never learned counts against the method.
    names, codes = np.unique(np.concatenate([truth, called]), return_inverse=True)
    true, guessed = codes[: len(truth)], codes[len(truth) :]
    ones = np.ones((1, len(truth)))
    numbers = {name: float(_number(true, guessed, len(names), ones, name)[0]) for name in _NUMBERS}
    numbers["auc"] = _auc(predictor.classes, shares, truth)
    rng = np.random.default_rng(seed)
    # Bootstrap as weights: tables of classes are summed again, nothing is sorted or fitted.
    weights = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), size=_DRAWS).astype(float)
    drawn = _number(true, guessed, len(names), weights, metric)
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return numbers, float(low), float(high)


_NUMBERS = ("accuracy", "macro_f1", "mcc")


def _number(
    true: NDArray[np.int64], called: NDArray[np.int64], size: int, weights: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    """A number of every row of weights ``(·, n)``: how often each sequence counts."""
    tables = np.zeros((len(weights), size * size))
    places = true * size + called
    for row, own in enumerate(weights):
        tables[row] = np.bincount(places, own, size * size)
    table = tables.reshape(-1, size, size)  # true class by called class
    right, total = np.trace(table, axis1=1, axis2=2), table.sum((1, 2))
    of_true, of_called = table.sum(2), table.sum(1)
    if name == "accuracy":
        return np.asarray(right / total)
    if name == "macro_f1":
        hits = np.diagonal(table, axis1=1, axis2=2)
        with np.errstate(invalid="ignore"):
            each = 2 * hits / (of_true + of_called)
        return np.asarray(np.nanmean(np.where(of_true > 0, each, np.nan), axis=1))
    # Gorodkin 2004, equation 8: the correlation of two tables of classes.
    shared = right * total - (of_true * of_called).sum(1)
    spread = np.sqrt(total**2 - (of_true**2).sum(1)) * np.sqrt(total**2 - (of_called**2).sum(1))
    return np.asarray(np.where(spread > 0, shared / np.maximum(spread, 1e-300), 0.0))


def _auc(classes: NDArray[np.str_], shares: NDArray[np.float64], truth: NDArray[np.str_]) -> float:
    """Mean over the classes of the area under the curve of each against the rest."""
    from scipy.stats import rankdata

    areas = []
    for place, name in enumerate(classes):
        own = truth == name
        positives, rest = int(own.sum()), int((~own).sum())
        if positives and rest:
            ranks = rankdata(shares[:, place])[own].sum()
            # Mann and Whitney's U over the number of pairs is the area under the curve.
            areas.append((ranks - positives * (positives + 1) / 2) / (positives * rest))
    return float(np.mean(areas)) if areas else float("nan")
