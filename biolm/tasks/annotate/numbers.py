"""Numbers from vectors and from k-mers by ridge regression, and how good they are.

Dimensions: ``s`` samples · ``d`` width · ``m`` columns of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.scoring.splits import Split, kfold
from biolm.tasks.annotate.linear import LinearMap, mean_map

__all__ = ["NumberRow", "fit_numbers", "number_row", "number_verdict"]

_STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_FOLDS, _BINS = 3, 5
_SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class NumberRow:
    """R² and more of one method on held-out samples, and the squared errors ``(s,)``, for comparisons."""

    facts: dict[str, Any]
    errors: NDArray[np.float64]
    truth: NDArray[np.float64]


def number_row(name: str, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> NumberRow:
    """R² (of the mean of the truth), Spearman's correlation and mean absolute error, as plain numbers.

    Parameters
    ----------
    name
        Of the method.
    truth, predicted
        ``(n,)`` numbers.
    """
    from scipy.stats import spearmanr

    spread = float(((truth - truth.mean()) ** 2).sum())
    # A rank correlation with a constant is 0/0, and scipy warns.
    constant = np.ptp(predicted) == 0 or np.ptp(truth) == 0
    errors = (truth - predicted) ** 2
    facts = {
        "name": name,
        "r2": round(1 - float(errors.sum()) / max(spread, 1e-12), 6),
        "spearman": 0.0 if constant else round(float(spearmanr(truth, predicted).statistic), 6),
        "mae": round(float(np.abs(truth - predicted).mean()), 6),
        "samples": len(truth),
    }
    return NumberRow(facts, errors, truth)


def number_verdict(first: NumberRow, baselines: Sequence[NumberRow], *, seed: int = 0) -> list[str]:
    """Whether ``first`` is better than the best baseline on the same samples.

    Rests on the paired bootstrap of the difference in R², wide enough for all baselines at once (Bonferroni).

    Parameters
    ----------
    first
        Row of the method.
    baselines
        Their rows.
    seed
        Of the bootstrap.
    """
    best = min(baselines, key=lambda row: float(row.errors.sum()))
    count = len(first.truth)
    # The bootstrap as counts of samples: all resamples are two products of matrices.
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _SAMPLES)
    spread = np.maximum(weights @ first.truth**2 - (weights @ first.truth) ** 2 / count, 1e-12)
    gaps = weights @ (best.errors - first.errors) / spread
    # Bonferroni over the baselines, as the best of several is partly luck.
    tail = 0.025 / len(baselines)
    low, high = np.quantile(gaps, [tail, 1 - tail])
    word = "is better than" if low > 0 else "is worse than" if high < 0 else "cannot be told apart from"
    gap = first.facts["r2"] - best.facts["r2"]
    return [
        f"{first.facts['name']} {word} {best.facts['name']} in R2: {gap:+.3f}, 95 % interval over "
        f"{len(baselines)} baselines {low:+.3f} to {high:+.3f}."
    ]


def fit_numbers(
    vectors: NDArray[np.float32],
    table: Any,
    numbers: NDArray[np.float64],
    groups: NDArray[np.int64],
    kinds: Sequence[str],
    seed: int,
) -> Mapping[str, LinearMap]:
    """Ridge regression by kind of features: ``embedding``, ``kmers``, and ``joint``, the best or their mean.

    Strengths, and what is joined, are chosen by the squared error on groups that were left out.

    Parameters
    ----------
    vectors, table
        ``(s, d)`` and sparse ``(s, m)``.
    numbers, groups
        ``(s,)``.
    """
    folds = _folds(numbers, groups, seed)
    maps: dict[str, LinearMap] = {}
    unseen: dict[str, NDArray[np.float64]] = {}
    for kind in ("embedding", "kmers"):
        if kind in kinds or "joint" in kinds:
            maps[kind], unseen[kind] = _ridge(vectors, table, numbers, folds, kind)
    if "joint" in kinds:
        offered = {name: (maps[name], predicted) for name, predicted in unseen.items()}
        offered["mean"] = (mean_map([*maps.values()]), np.mean([*unseen.values()], axis=0))
        seen = np.concatenate([split.test for split in folds]) if folds else np.arange(len(numbers))
        best = min(offered, key=lambda name: float(((offered[name][1] - numbers)[seen] ** 2).mean()))
        maps["joint"] = offered[best][0]
    return {kind: maps[kind] for kind in kinds}


def _folds(numbers: NDArray[np.float64], groups: NDArray[np.int64], seed: int) -> list[Split]:
    if len(np.unique(groups)) < _FOLDS:
        return []
    # Folds are balanced by class, which numbers have none of: fifths of the range stand in.
    bins = np.searchsorted(np.quantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1]), numbers)
    return kfold(bins.astype(str), folds=_FOLDS, groups=groups, seed=seed)


def _ridge(
    vectors: NDArray[np.float32], table: Any, numbers: NDArray[np.float64], folds: list[Split], kind: str
) -> tuple[LinearMap, NDArray[np.float64]]:
    """The map of the best strength, and what it says of samples it did not see."""
    from sklearn.linear_model import Ridge

    scale: Any = 1.0
    points = table
    if kind == "embedding":
        scale = vectors.std(0) + 1e-6
        points = vectors / scale

    def fitted(rows: Any, strength: float) -> Any:
        # A sparse table and long vectors are solved without forming their products.
        solver = "lsqr" if kind == "kmers" else "cholesky"
        return Ridge(strength, solver=solver).fit(points[rows], numbers[rows])

    predictions: dict[float, NDArray[np.float64]] = {}
    # Without folds there is nothing to choose by, so the middle strength is taken.
    for strength in _STRENGTHS if folds else _STRENGTHS[2:3]:
        # Samples that no fold tests, where there are no folds at all, count as the mean.
        predicted = np.full(len(numbers), numbers.mean())
        for split in folds:
            predicted[split.test] = fitted(split.train, strength).predict(points[split.test])
        predictions[strength] = predicted
    best = min(predictions, key=lambda strength: float(((predictions[strength] - numbers) ** 2).mean()))
    model = fitted(np.arange(len(numbers)), best)
    weights = np.asarray(model.coef_ / scale, np.float32)[:, None]
    zeros = np.zeros((table.shape[1] if kind == "embedding" else vectors.shape[1], 1), np.float32)
    bias = np.array([model.intercept_], np.float32)
    own = LinearMap(weights, zeros, bias) if kind == "embedding" else LinearMap(zeros, weights, bias)
    return own, predictions[best]
