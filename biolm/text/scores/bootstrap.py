"""Intervals of scores that are sums over documents: documents are drawn anew, not mentions.

Dimensions: ``n`` documents · ``c`` counts of a document · ``s`` bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.text.scores.entities import Counts

__all__ = ["Interval", "compare_f1", "f1_interval", "interval_of"]

SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A score with its 95 % percentile interval.

    Examples
    --------
    >>> str(Interval(0.8, 0.78, 0.825))
    '0.800 (0.780 to 0.825)'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


def interval_of(
    rows: NDArray[np.float64],
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Interval:
    """Interval of a score of summed rows.

    Parameters
    ----------
    rows
        ``(n, c)`` what each document adds.
    score
        From ``(s, c)`` sums to ``(s,)`` scores.
    """
    if not len(rows):
        raise InputError("there are no documents to score")
    # Documents are drawn, not mentions: mentions of one text are not independent.
    weights = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), samples)
    drawn = score(weights @ rows)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(score(rows.sum(0, keepdims=True))[0]), float(low), float(high))


def _table(counts: Sequence[Counts]) -> NDArray[np.float64]:
    return np.array([(each.tp, each.fp, each.fn) for each in counts], np.float64).reshape(-1, 3)


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = 2 * sums[:, 0] + sums[:, 1] + sums[:, 2]
    return np.asarray(np.divide(2 * sums[:, 0], whole, out=np.zeros(len(sums)), where=whole > 0))


def f1_interval(counts: Sequence[Counts], *, seed: int = 0) -> Interval:
    """Micro F1 over documents with its interval.

    Parameters
    ----------
    counts
        Of each document.
    seed
        Of the bootstrap.
    """
    return interval_of(_table(counts), _f1, seed=seed)


def compare_f1(first: Sequence[Counts], second: Sequence[Counts], *, seed: int = 0) -> tuple[Interval, str]:
    """Paired difference of micro F1 over the same documents, and what may be said of it.

    Parameters
    ----------
    first, second
        Counts of each document.
    seed
        Of the bootstrap.

    Examples
    --------
    >>> good, bad = [Counts(9, 1, 1)] * 30, [Counts(3, 7, 7)] * 30
    >>> compare_f1(good, bad)[1], compare_f1(good, good)[1]
    ('better', 'no difference shown')
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} documents cannot be compared in pairs")
    rows = np.concatenate([_table(first), _table(second)], 1)
    interval = interval_of(rows, lambda sums: _f1(sums[:, :3]) - _f1(sums[:, 3:]), seed=seed)
    if not interval.excludes_zero:
        return interval, "no difference shown"
    return interval, "better" if interval.low > 0 else "worse"
