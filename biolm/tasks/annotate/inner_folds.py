"""Folds inside the training rows: what members, temperature and limits are chosen on.

Dimensions: ``n`` training rows · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from biolm.scoring.quality import macro_f1
from biolm.scoring.splits import Split, kfold
from biolm.tasks.annotate.points import Points

__all__ = ["best_members", "folds_of", "seen_classes"]

_MANY = 1000
# Fraction of cells whose class a fold of whole batches must have learned, for batches to be held out.
_ENOUGH_KNOWN = 0.5


def folds_of(points: Points, seed: int) -> tuple[list[Split], str]:
    """Folds that keep batches and copies together, and why cells were dealt where batches should have been.

    None where a class is too small.

    Parameters
    ----------
    points
        Training rows.
    seed
        Of the folds.
    """
    present = np.bincount(points.codes, minlength=points.n_classes)
    count = min(3 if len(points.codes) >= _MANY else 5, int(present[present > 0].min()))
    instead = ""
    if points.batches is not None:
        instead = "there is one batch among the training rows"
        if len(np.unique(points.batches)) > 1:
            folds = _dealt(points, max(count, 2), points.batches, seed)
            # A cell of a class that its fold never saw is no cell of a known type, so it sets no cut-off.
            if seen_classes(points, folds).mean() >= _ENOUGH_KNOWN:
                return folds, ""
            instead = "most classes lie in one batch each"
    return ([] if count < 2 else _dealt(points, count, None, seed)), instead


def _dealt(points: Points, count: int, groups: NDArray[np.str_] | None, seed: int) -> list[Split]:
    """Folds in which more than one class is learned: a classifier needs two."""
    folds = kfold(points.codes.astype(str), folds=count, groups=groups, copies=points.copies, seed=seed)
    return [split for split in folds if len(np.unique(points.codes[split.train])) > 1]


def seen_classes(points: Points, folds: Sequence[Split]) -> NDArray[np.bool_]:
    """``(n,)`` rows that a fold tests after others of their class.

    Parameters
    ----------
    points
        Training rows.
    folds
        Which of them each fold learns from and tests.
    """
    known = np.zeros(len(points.codes), bool)
    for split in folds:
        known[split.test] = np.isin(points.codes[split.test], points.codes[split.train])
    return known


def best_members(
    logits: dict[str, NDArray[np.float64]], codes: NDArray[np.int64], seen: NDArray[np.int64]
) -> tuple[str, ...]:
    """The set of members whose mean has the highest macro-F1; of equals the smallest, then the first.

    Parameters
    ----------
    logits
        ``(n, c)`` by member, of rows that it did not see.
    codes
        ``(n,)`` true classes.
    seen
        Rows that a fold tested.
    """
    names = list(logits)
    # Every set is tried (15 of four members): members that are weak alone may still help beside another.
    sets = [chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)]

    def score(chosen: tuple[str, ...]) -> float:
        called = np.mean([logits[name] for name in chosen], axis=0)[seen].argmax(1)
        return float(macro_f1(codes[seen], called)[0])

    return max(sets, key=score)
