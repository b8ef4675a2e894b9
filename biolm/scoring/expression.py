"""How well expression is predicted: correlation of each gene within a section, and gains paired by gene.

Dimensions: ``n`` spots · ``g`` genes · ``s`` sections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError

__all__ = ["Interval", "bootstrap_mean", "paired_gain", "pearson_columns"]

SAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Rounded to four decimals."""
        return {name: round(float(getattr(self, name)), 4) for name in ("mean", "low", "high")}

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def pearson_columns(predicted: ArrayLike, truth: Any) -> NDArray[np.float64]:
    """``(g,)`` Pearson correlation of each gene over the spots; 0 where either side is constant.

    Parameters
    ----------
    predicted, truth
        ``(n, g)``.

    Raises
    ------
    InputError
        If the shapes differ or there are fewer than three spots.

    Examples
    --------
    >>> pearson_columns([[1.0, 2], [2, 2], [3, 2]], [[2.0, 1], [4, 2], [6, 3]]).round(6).tolist()
    [1.0, 0.0]
    """
    a, b = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or a.ndim != 2 or len(a) < 3:
        raise InputError(
            f"correlations need two tables of one shape and 3 spots, not {a.shape} and {b.shape}"
        )
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    # A gene that a model predicts as a constant is no success: 0, not NaN that a mean would drop.
    return np.where(scale > 1e-12, (a * b).sum(0) / np.maximum(scale, 1e-12), 0.0)


def bootstrap_mean(values: ArrayLike, *, seed: int = 0) -> Interval:
    """Mean of ``(s, g)`` correlations, with a percentile bootstrap over sections and, within them, genes.

    The percentile bootstrap of Efron and Tibshirani (1993), at two levels.

    Both levels are drawn anew, so that genes of one section are not taken for independent sections.

    Parameters
    ----------
    values
        ``(s, g)`` correlations.
    seed
        Of the bootstrap.
    """
    table = np.atleast_2d(np.asarray(values, np.float64))
    rng = np.random.default_rng(seed)
    sections, genes = table.shape
    rows = rng.integers(0, sections, (SAMPLES, sections, 1))
    # Genes anew in each section that is drawn: both levels vary.
    columns = rng.integers(0, genes, (SAMPLES, sections, genes))
    drawn = table[rows, columns].mean((1, 2))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(table.mean()), float(low), float(high))


def paired_gain(first: ArrayLike, second: ArrayLike) -> Interval:
    """``first − second``, paired by section and gene, ``(s, g)`` each.

    Parameters
    ----------
    first, second
        ``(s, g)`` scores.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape:
        raise InputError(
            f"gains are paired by section and gene, so shapes must agree: {a.shape} and {b.shape}"
        )
    return bootstrap_mean(a - b)
