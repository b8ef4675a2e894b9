"""How good an annotator is on cells it did not see, with the baselines and the test of unknown cells.

Dimensions: ``n`` cells · ``c`` classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.annotate.calibrate import probabilities
from biolm.tasks.annotate.frozen import Frozen, Points, fit_recipe
from biolm.tasks.annotate.settings import FitSettings
from biolm.tasks.baselines import BASELINES
from biolm.tasks.progress import log
from biolm.tasks.quality import score_calls
from biolm.tasks.quality_calls import calibration, confusion
from biolm.tasks.splits import Split

__all__ = ["COMPARED", "baseline_rows", "row", "shown", "unknown_test"]

COMPARED = (
    "majority class",
    "L1 logistic regression",
    "PCA-50 + logistic regression",
    "PCA-50 + kNN",
    "SGD logistic regression",
)
GOOD_CALIBRATION = 0.05
# The test of unknown cells leaves out one class at a time and fits again, so it takes few cells and classes.
_UNKNOWN_CELLS = 1500
_UNKNOWN_CLASSES = 10


def row(name: str, truth: NDArray[np.int64], found: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Scores of probabilities ``(n, c)`` as plain numbers: macro-F1 with its interval, accuracy and ECE."""
    called = found.argmax(1)
    score = score_calls(name, truth, called[None], seed)
    ece = calibration(found.max(1), called == truth).ece
    return score.as_dict() | {"ece": round(ece, 6), "calibrated": bool(ece <= GOOD_CALIBRATION)}


def shown(truth: NDArray[np.int64], found: NDArray[np.float64]) -> dict[str, Any]:
    """Confusion and calibration of probabilities ``(n, c)``, as plain numbers for the page."""
    called = found.argmax(1)
    order = np.arange(found.shape[1])
    bins = calibration(found.max(1), called == truth)
    return {
        "confusion": confusion(truth, called, order).tolist(),
        "calibration": {
            name: np.round(getattr(bins, name), 6).tolist() for name in ("confidence", "accuracy", "cells")
        },
    }


def baseline_rows(counts: Any, codes: NDArray[np.int64], split: Split, seed: int) -> list[dict[str, Any]]:
    """Scores of the baselines on the same split.

    Parameters
    ----------
    counts
        Sparse ``(n, m)`` raw counts.
    codes
        ``(n,)`` classes.
    """
    names = codes.astype(str)
    rows = []
    for name in COMPARED:
        log.info("baseline: %s", name)
        predictor = BASELINES[name](counts[split.train], names[split.train], seed=seed)
        held = predictor.predict_proba(counts[split.test])
        found = np.zeros((len(split.test), codes.max() + 1))
        found[:, predictor.classes.astype(int)] = held
        rows.append(row(name, codes[split.test], found, seed))
    return rows


def unknown_test(
    points: Points, split: Split, frozen: Frozen, classes: tuple[str, ...], settings: FitSettings
) -> dict[str, Any]:
    """Leave one class out of training at a time: how many of its cells are called unknown.

    The members, temperature and threshold stay as chosen with all classes.

    Returns
    -------
    ``threshold``; ``known_rejected``, the share of held-out cells of known classes below it; ``rejected``,
    the mean share of left-out cells below it; ``auroc``, how well confidence tells the two apart; and
    ``classes``, the share rejected of each.
    """
    from sklearn.metrics import roc_auc_score

    train, test = points.take(_some(split.train, settings.seed)), points.take(split.test)
    sizes = np.bincount(test.codes, minlength=len(classes))
    left = np.argsort(-sizes, kind="stable")[:_UNKNOWN_CLASSES]
    shares: dict[str, float] = {}
    known_shares, aurocs = [], []
    for code in left[sizes[left] > 0]:
        kept = train.take(np.flatnonzero(train.codes != code))
        if len(np.unique(kept.codes)) < 2:
            continue
        scorer = fit_recipe(kept, frozen.recipe, settings)
        logits = scorer.logits(test.vectors, test.table)
        # The class that was left out is no choice, and takes no share of the probability.
        logits = np.delete(logits, code, axis=1)
        confidence = probabilities(logits, frozen.temperature).max(1)
        below, alien = confidence < frozen.threshold, test.codes == code
        shares[classes[code]] = round(float(below[alien].mean()), 6)
        if not alien.all():
            known_shares.append(below[~alien].mean())
            aurocs.append(roc_auc_score(alien, -confidence))
    return {
        "threshold": round(frozen.threshold, 6),
        "known_rejected": _mean(known_shares),
        "rejected": _mean(list(shares.values())),
        "auroc": _mean(aurocs),
        "classes": shares,
    }


def _some(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    if len(rows) <= _UNKNOWN_CELLS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _UNKNOWN_CELLS, replace=False))


def _mean(values: list[Any]) -> float | None:
    """None where nothing was measured."""
    return round(float(np.mean(values)), 6) if values else None
