"""What vectors know about labels: neighbours and linear probes, by cross-validation and from few labels.

Dimensions: ``n`` cells · ``d`` width of a vector · ``c`` types · ``p`` points of a curve · ``r`` draws.

Vectors are made without labels, so they may be of all cells; every classifier sees the training side alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.scoring.baselines import Predictor, predictions
from biolm.scoring.quality import Score, macro_f1, score_calls
from biolm.scoring.splits import Split, few_shot, fraction

__all__ = ["Calls", "Fit", "LabelCurve", "Method", "cross_validated", "label_curve"]

Fit = Callable[[Any, NDArray[np.str_], int], Predictor]


@dataclass(frozen=True, eq=False)
class Method:
    """A classifier and what it reads.

    Parameters
    ----------
    name
        For tables and plots.
    table
        ``(n, d)`` vectors, or sparse counts for classifiers of counts.
    fit
        As in :data:`biolm.scoring.baselines.BASELINES`.
    most
        Curves leave out points with more cells to learn from, where a fit takes long; 0 for no limit.
    """

    name: str
    table: Any
    fit: Fit
    most: int = 0


@dataclass(frozen=True, eq=False)
class Calls:
    """Out-of-fold probabilities of one method.

    Parameters
    ----------
    name
        The method.
    classes
        ``(c,)`` types in alphabetical order.
    truth
        ``(n,)`` names.
    probabilities
        ``(n, c)``, each row from a classifier that never saw the cell.
    """

    name: str
    classes: NDArray[np.str_]
    truth: NDArray[np.str_]
    probabilities: NDArray[np.float64]

    @property
    def called(self) -> NDArray[np.str_]:
        """``(n,)`` the likeliest type."""
        names: NDArray[np.str_] = self.classes[self.probabilities.argmax(1)]
        return names

    @property
    def confidence(self) -> NDArray[np.float64]:
        """``(n,)`` its probability."""
        return np.asarray(self.probabilities.max(1))

    def score(self, seed: int = 0) -> Score:
        """Macro-F1 with its bootstrap interval, and accuracy."""
        codes = np.searchsorted(self.classes, self.truth).astype(np.int64)
        return score_calls(self.name, codes, self.probabilities.argmax(1)[None], seed)


def cross_validated(
    method: Method, labels: NDArray[np.str_], splits: Sequence[Split], seed: int = 0
) -> Calls:
    """Call every cell by a classifier of the other folds.

    Parameters
    ----------
    method
        What is fitted on what.
    labels
        ``(n,)`` names.
    splits
        Folds that test every cell once.
    """
    classes = np.unique(labels)
    probabilities = np.zeros((len(labels), len(classes)))
    for split in splits:
        predictor = method.fit(method.table[split.train], labels[split.train], seed)
        # A training side may lack a type that only one group has; its column stays 0.
        columns = np.searchsorted(classes, predictor.classes)
        probabilities[np.ix_(split.test, columns)] = predictor.predict_proba(method.table[split.test])
    return Calls(method.name, classes, labels, probabilities)


@dataclass(frozen=True, eq=False)
class LabelCurve:
    """Macro-F1 by number of labels.

    Parameters
    ----------
    x
        ``(p,)`` cells a type, or fractions of the labelled cells.
    values
        ``(r, p)`` of each method; NaN where it was not fitted (see :attr:`Method.most`).
    """

    x: tuple[float, ...]
    values: dict[str, NDArray[np.float64]]


def label_curve(
    methods: Sequence[Method],
    labels: NDArray[np.str_],
    splits: Sequence[Split],
    *,
    points: Sequence[float],
    shots: bool,
    seed: int = 0,
) -> LabelCurve:
    """Learn from few labels, always tested on the same held-out cells of a draw.

    Parameters
    ----------
    methods
        What is fitted on what.
    splits
        One a draw.
    points
        Cells a type if ``shots``, else fractions of the training side; points that no type has cells for are
        left out.
    """
    # Points with more cells a type than the commonest type has would repeat the last one.
    kept = tuple(float(point) for point in points if not shots or point <= _largest(labels, splits))
    values = {name: np.full((len(splits), len(kept)), np.nan) for name in (m.name for m in methods)}
    classes, codes = np.unique(labels, return_inverse=True)
    for draw, split in enumerate(splits):
        truth = codes[split.test].astype(np.int64)
        for place, point in enumerate(kept):
            if shots:
                rows = few_shot(labels, int(point), rows=split.train, seed=seed + draw)
            else:
                rows = fraction(labels, point, rows=split.train, seed=seed + draw)
            for method in methods:
                if method.most and len(rows) > method.most:
                    continue
                predictor = method.fit(method.table[rows], labels[rows], seed)
                called = np.searchsorted(classes, predictions(predictor, method.table[split.test]))
                values[method.name][draw, place] = macro_f1(truth, called.astype(np.int64))[0]
    return LabelCurve(kept, values)


def _largest(labels: NDArray[np.str_], splits: Sequence[Split]) -> int:
    """Cells of the commonest type on the smallest training side."""
    return min(int(np.unique(labels[split.train], return_counts=True)[1].max()) for split in splits)
