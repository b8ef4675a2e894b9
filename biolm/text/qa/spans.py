"""From scores of starts and ends to answers: n-best spans over windows, and the score of no answer.

Dimensions: ``p`` pieces of a context in one window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

__all__ = ["Answer", "WindowScores", "best_spans", "tune_threshold"]


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Scores of one window.

    Parameters
    ----------
    start, end
        ``(p,)`` logits of the context's pieces.
    spans
        ``(p, 2)`` their places in the whole context, in code points.
    null
        Logits of start and end at the first special token together: no answer here.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    spans: NDArray[np.int64]
    null: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its place; ``text`` is empty and the place (0, 0) for no answer."""

    text: str
    start: int
    end: int
    score: float
    probability: float


def best_spans(
    context: str,
    windows: Sequence[WindowScores],
    *,
    n_best: int = 5,
    longest: int = 30,
    threshold: float | None = None,
) -> tuple[list[Answer], float]:
    """The best answers over all windows, and how much no answer is preferred to the best of them.

    No answer scores as low as in the window where it is least likely: one window that holds the answer is
    enough. Among spans of the same text the best is kept.

    Parameters
    ----------
    context
        The whole context.
    windows
        Scores of every window.
    n_best
        Answers to give.
    longest
        Most pieces of an answer.
    threshold
        No answer comes first where its score exceeds the best span's by more than this; None never.

    Examples
    --------
    >>> places = np.array([[0, 1], [2, 5], [6, 9]])
    >>> window = WindowScores(np.array([0.0, 3, 0]), np.array([0.0, 1, 2]), places, 1.0)
    >>> answers, gap = best_spans("a big cat", [window])
    >>> answers[0].text, gap
    ('big cat', -4.0)
    """
    score_of: dict[tuple[int, int], float] = {}
    for window in windows:
        for first, last, score in _spans(window, max(n_best * 4, 20), longest):
            place = int(window.spans[first, 0]), int(window.spans[last, 1])
            if place[1] > place[0]:
                # Windows overlap, so a span may be scored twice.
                score_of[place] = max(score, score_of.get(place, -np.inf))
    # No answer only where every window says so: one of them may hold it (Devlin et al. 2019).
    null = min((window.null for window in windows), default=0.0)
    rows = sorted(score_of.items(), key=lambda pair: (-pair[1], pair[0]))[:n_best]
    gap = null - rows[0][1] if rows else np.inf
    scores = np.array([score for _, score in rows] + [null])
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    answers = [
        Answer(context[start:end], start, end, float(score), float(weight))
        for ((start, end), score), weight in zip(rows, weights[:-1], strict=True)
    ]
    nothing = Answer("", 0, 0, float(null), float(weights[-1]))
    if not answers or (threshold is not None and gap > threshold):
        answers = [nothing, *answers]
    return answers[:n_best], float(gap)


def _spans(window: WindowScores, most: int, longest: int) -> list[tuple[int, int, float]]:
    starts = np.argsort(-window.start, kind="stable")[:most]
    ends = np.argsort(-window.end, kind="stable")[:most]
    return [
        (int(a), int(b), float(window.start[a] + window.end[b]))
        for a in starts
        for b in ends
        # A start behind its end is no span, however well both score.
        if a <= b < a + longest
    ]


def tune_threshold(gaps: Sequence[float], gains: Sequence[float], nothing: Sequence[float]) -> float:
    """The threshold on the gap that scores best; give it development questions alone.

    Parameters
    ----------
    gaps
        Preference for no answer, of each question; must differ, as raw score differences do.
    gains
        Score of the best span of each question.
    nothing
        Score of no answer of each.

    Raises
    ------
    InputError
        If every gap is the same: a constant column decides nothing.

    Examples
    --------
    >>> tune_threshold([-3.0, -1.0, 2.0, 4.0], [1, 1, 0, 0], [0, 0, 1, 1])
    0.5
    """
    if len(set(gaps)) < 2:
        raise InputError("the scores of no answer are all the same, so no threshold can be chosen on them")
    order = np.argsort(gaps, kind="stable")
    sorted_gaps = np.asarray(gaps, float)[order]
    gain, none = np.asarray(gains, float)[order], np.asarray(nothing, float)[order]
    # Spans up to place i, no answer behind it.
    totals = np.concatenate([[0.0], np.cumsum(gain)]) + none.sum() - np.concatenate([[0.0], np.cumsum(none)])
    edges = np.concatenate(
        [[sorted_gaps[0] - 1], (sorted_gaps[1:] + sorted_gaps[:-1]) / 2, [sorted_gaps[-1] + 1]]
    )
    # A border between equal gaps cannot be drawn.
    free = np.concatenate([[True], sorted_gaps[1:] > sorted_gaps[:-1], [True]])
    return float(edges[np.argmax(np.where(free, totals, -np.inf))])
