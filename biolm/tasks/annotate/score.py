"""How good an annotator is on cells it did not see, with the baselines and the test of unknown cells.

Dimensions: ``n`` cells · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.progress import log
from biolm.scoring.baselines import BASELINES
from biolm.scoring.calls import calibration, confusion
from biolm.scoring.quality import Score, score_calls
from biolm.scoring.splits import Split
from biolm.scoring.verdicts import against_best
from biolm.tasks.annotate.calibrate import probabilities
from biolm.tasks.annotate.frozen import Frozen, refit, respaced
from biolm.tasks.annotate.numbers import number_verdict
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import FitSettings

__all__ = [
    "COMPARED",
    "Row",
    "baseline_rows",
    "novelty_test",
    "report_of",
    "row",
    "shown",
    "unknown_test",
    "verdict",
]

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


@dataclass(frozen=True, eq=False)
class Row:
    """Scores of one method on held-out cells.

    Parameters
    ----------
    facts
        Macro-F1 with its interval, accuracy and ECE, as plain numbers.
    score
        The same with the calls, for comparisons on the same cells.
    """

    facts: dict[str, Any]
    score: Score


def row(name: str, truth: NDArray[np.int64], predicted: NDArray[np.float64], seed: int) -> Row:
    """Score probabilities ``(n, c)``.

    Parameters
    ----------
    name
        Of the method.
    truth
        ``(n,)`` classes.
    predicted
        ``(n, c)`` probabilities.
    seed
        Of the intervals.
    """
    called = predicted.argmax(1)
    score = score_calls(name, truth, called[None], seed)
    ece = calibration(predicted.max(1), called == truth).ece
    facts = score.as_dict() | {"ece": round(ece, 6), "calibrated": bool(ece <= GOOD_CALIBRATION)}
    return Row(facts, score)


def verdict(rows: Sequence[Row], baselines: Sequence[Row], vectors: str = "embedding") -> list[str]:
    """What the scores say: the first method against the best baseline, and what it was made of.

    Parameters
    ----------
    rows
        The method, then its parts; ``members`` among the facts names what cross-validation kept.
    baselines
        Methods on the same held-out cells.
    vectors
        Name of the member that reads the model's vectors.
    """
    words = [against_best(rows[0].score, [each.score for each in baselines])]
    members = str(rows[0].facts.get("members", "")).split(", ")
    # A method of genes alone was not offered the vectors.
    if len(rows) > 1 and members != [""] and vectors not in members:
        words.append(
            f"Cross-validation dropped the model's vectors: {rows[0].facts['name']} rests on "
            f"{', '.join(members)} alone."
        )
    return words


def shown(truth: NDArray[np.int64], predicted: NDArray[np.float64]) -> dict[str, Any]:
    """Confusion and calibration of probabilities ``(n, c)``, as plain numbers for the page.

    Parameters
    ----------
    truth
        ``(n,)`` classes.
    predicted
        ``(n, c)`` probabilities.
    """
    called = predicted.argmax(1)
    order = np.arange(predicted.shape[1])
    bins = calibration(predicted.max(1), called == truth)
    return {
        "confusion": confusion(truth, called, order).tolist(),
        "calibration": {
            name: np.round(getattr(bins, name), 6).tolist() for name in ("confidence", "accuracy", "cells")
        },
    }


def report_of(
    about: dict[str, Any], rows: Sequence[Any], baselines: Sequence[Any], seed: int
) -> dict[str, Any]:
    """What was split, then scores of the method, of its parts, and of the baselines on the same split.

    Parameters
    ----------
    about
        What was split, and how.
    rows
        The method first, then its parts: :class:`Row` of classes, :class:`NumberRow` of numbers.
    baselines
        As ``rows``.
    seed
        Of the comparison.
    """
    if isinstance(rows[0], Row):
        words = verdict(rows, baselines)
    else:
        words = number_verdict(rows[0], baselines, seed=seed)
    return about | {
        "held_out": rows[0].facts,
        "parts": [each.facts for each in rows[1:]],
        "baselines": [each.facts for each in baselines],
        "verdict": words,
    }


def baseline_rows(
    table: Any,
    codes: NDArray[np.int64],
    split: Split,
    baselines: Mapping[str, Any] | Sequence[str],
    seed: int,
) -> list[Row]:
    """Scores of the baselines on the same split.

    Parameters
    ----------
    table
        Sparse ``(n, m)`` raw counts, or what else the baselines read.
    codes
        ``(n,)`` classes.
    split
        Rows to learn from and to measure on.
    baselines
        What fits each; or names of :data:`~biolm.scoring.baselines.BASELINES`.
    seed
        Of the fits.
    """
    fits = baselines if isinstance(baselines, Mapping) else {name: BASELINES[name] for name in baselines}
    names = codes.astype(str)
    learned, rows = table[split.train], []
    for name, fit in fits.items():
        log.info("baseline: %s", name)
        predictor = fit(learned, names[split.train], seed=seed)
        # A baseline knows only the classes that it learned; the others get probability 0.
        predicted = np.zeros((len(split.test), codes.max() + 1))
        predicted[:, predictor.classes.astype(int)] = predictor.predict_proba(table[split.test])
        rows.append(row(name, codes[split.test], predicted, seed))
    return rows


def unknown_test(
    points: Points, split: Split, frozen: Frozen, classes: tuple[str, ...], settings: FitSettings
) -> dict[str, Any]:
    """Leave one class out of training at a time: how many of its cells are called unknown.

    The members, temperature, threshold and limits of distance stay as chosen with all classes.

    Parameters
    ----------
    points
        Training cells.
    split
        Rows that train and rows that are held out.
    frozen
        The annotator as it was fitted.
    classes
        Names of the classes.
    settings
        Choices of the job.

    Returns
    -------
    ``threshold``; ``novelty``, the promise and what it was set on; ``known_rejected``, the fraction of
    held-out cells of known classes that are unknown; ``rejected``, the mean fraction of left-out cells;
    ``auroc``, how well novelty tells the two apart; and ``classes``, the fraction rejected of each.
    """
    test = points.take(split.test)

    def scores(kept: Points, code: int) -> NDArray[np.float32]:
        fitted = refit(frozen, kept, settings)
        # The class that was left out is no choice, and takes no part of the probability.
        logits = np.delete(fitted.scorer.logits(test.vectors, test.table), code, axis=1)
        confidence = probabilities(logits, frozen.temperature).max(1)
        return fitted.novelty_of(test, confidence)

    return _about(frozen) | _left_out(points, split, classes, settings, scores)


def novelty_test(
    points: Points, split: Split, frozen: Frozen, classes: tuple[str, ...], settings: FitSettings
) -> dict[str, Any]:
    """As :func:`unknown_test`, by distance alone: for methods that would have to train the model again.

    Parameters
    ----------
    points, split, frozen, classes, settings
        As of :func:`unknown_test`.
    """
    test = points.take(split.test)
    if frozen.distance is None:
        return _about(frozen) | {"rejected": None}

    def scores(kept: Points, code: int) -> NDArray[np.float32]:  # noqa: ARG001  # the centre is gone with its cells
        return respaced(frozen, kept).novelty_of(test, np.ones(len(test.codes)))

    return _about(frozen) | {"by": "distance alone"} | _left_out(points, split, classes, settings, scores)


def _about(frozen: Frozen) -> dict[str, Any]:
    promise = {} if frozen.novelty is None else {"novelty": dict(frozen.novelty.facts)}
    return {"threshold": round(frozen.threshold, 6)} | promise


def _left_out(
    points: Points,
    split: Split,
    classes: tuple[str, ...],
    settings: FitSettings,
    scores: Callable[[Points, int], NDArray[np.float32]],
) -> dict[str, Any]:
    """Leave classes out in turn; ``scores`` of the tested cells lie above 1 where they are unknown."""
    from sklearn.metrics import roc_auc_score

    # Fitted once a class, so on a sample; tested on all held-out cells, which costs little.
    train, codes = points.take(_some(split.train, settings.seed)), points.codes[split.test]
    sizes = np.bincount(codes, minlength=len(classes))
    # The largest classes: of a few held-out cells no fraction can be told.
    left = np.argsort(-sizes, kind="stable")[:_UNKNOWN_CLASSES]
    shares: dict[str, float] = {}
    known_shares, aurocs = [], []
    for code in left[sizes[left] > 0]:
        kept = train.take(np.flatnonzero(train.codes != code))
        # Of two classes one is left, between which there is nothing to choose.
        if len(np.unique(kept.codes)) < 2:
            continue
        score = scores(kept, int(code))
        above, alien = score > 1, codes == code
        shares[classes[code]] = round(float(above[alien].mean()), 6)
        if not alien.all():
            known_shares.append(above[~alien].mean())
            aurocs.append(roc_auc_score(alien, score))
    return {
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
