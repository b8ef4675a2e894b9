"""How good calls are: confusion, per-class scores, calibration of the confidence.

Dimensions: ``n`` cells · ``c`` classes · ``b`` bins of confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError

__all__ = ["Calibration", "ClassScore", "calibration", "class_scores", "confusion"]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Precision, recall and F1 of one class, each from 0 to 1, and its number of true ``cells``."""

    name: str
    precision: float
    recall: float
    f1: float
    cells: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidence against the fraction of right calls.

    Parameters
    ----------
    confidence, accuracy, cells
        ``(b,)`` mean confidence, fraction right and number of cells of every bin that is not empty.
    ece
        Expected calibration error: mean gap between the two, weighted by cells (Guo et al. 2017, equation 3).
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    cells: NDArray[np.int64]
    ece: float


def confusion(truth: ArrayLike, predicted: ArrayLike, names: ArrayLike) -> NDArray[np.int64]:
    """Cells of each true class (row) called each class (column).

    Parameters
    ----------
    truth, predicted
        ``(n,)`` names; cells of a name that is not in ``names`` are left out.
    names
        ``(c,)`` the order of rows and columns.

    Examples
    --------
    >>> confusion(["B", "B", "NK"], ["B", "NK", "NK"], ["B", "NK"]).tolist()
    [[1, 1], [0, 1]]
    """
    order = np.asarray(names).astype(str)
    sorting = np.argsort(order)
    true, called = (np.asarray(each).astype(str) for each in (truth, predicted))
    both = np.isin(true, order) & np.isin(called, order)
    table = np.zeros((len(order), len(order)), np.int64)
    rows, columns = (sorting[np.searchsorted(order, each[both], sorter=sorting)] for each in (true, called))
    np.add.at(table, (rows, columns), 1)
    return table


def class_scores(truth: ArrayLike, predicted: ArrayLike) -> list[ClassScore]:
    """Scores of every class that ``truth`` holds, in alphabetical order; 0 where nothing was called it.

    Parameters
    ----------
    truth, predicted
        ``(n,)`` classes.
    """
    true, called = (np.asarray(each).astype(str) for each in (truth, predicted))
    scores = []
    for name in np.unique(true):
        hits = int(((true == name) & (called == name)).sum())
        calls, cells = int((called == name).sum()), int((true == name).sum())
        f1 = 2 * hits / (calls + cells)
        scores.append(ClassScore(str(name), hits / calls if calls else 0.0, hits / cells, f1, cells))
    return scores


def calibration(confidence: ArrayLike, right: ArrayLike, *, bins: int = 15) -> Calibration:
    """Compare confidence with the fraction of right calls in bins of equal width.

    Parameters
    ----------
    confidence
        ``(n,)`` probability of the class that was called.
    right
        ``(n,)`` whether the call was right.

    Raises
    ------
    InputError
        If a confidence is not between 0 and 1, or there is none.

    Examples
    --------
    >>> round(calibration([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0]).ece, 3)
    0.15
    """
    values = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    # A sum of float32 probabilities may exceed 1 by rounding.
    if not len(values) or not ((values >= 0) & (values <= 1 + 1e-5)).all():
        raise InputError("confidence must be between 0 and 1 for every cell, and of one cell at least")
    # A confidence of 1 belongs to the last bin.
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    cells = np.bincount(place, minlength=bins)
    filled = cells > 0
    mean = np.bincount(place, values, bins)[filled] / cells[filled]
    accuracy = np.bincount(place, hits, bins)[filled] / cells[filled]
    ece = float((np.abs(mean - accuracy) * cells[filled]).sum() / len(values))
    return Calibration(mean, accuracy, cells[filled], ece)
