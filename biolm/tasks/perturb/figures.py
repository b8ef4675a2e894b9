"""Figures of a perturbation: cosines, means, intervals.

Dimensions: ``n`` cells · ``e`` edits · ``d`` width · ``s`` bootstrap samples.

NaN stands for a cell in which an edit changes nothing, such as deleting a gene that is not expressed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_interval", "cosine", "means"]

_SAMPLES = 1000
_COLUMNS = 512


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of the angle between rows ``(n, d)`` and ``(n, d)`` or ``(d,)``; NaN where a row is zero.

    Parameters
    ----------
    one
        ``(n, d)``.
    other
        ``(n, d)`` or ``(d,)``.

    Examples
    --------
    >>> rows = np.array([[1.0, 0.0], [1.0, 1.0]], np.float32)
    >>> cosine(rows, np.array([0.0, 2.0], np.float32)).round(3).tolist()
    [0.0, 0.707]
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray((a * b).sum(-1) / np.where(lengths > 0, lengths, np.nan))


def means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean ``(e,)`` over the cells ``(n, e)`` that have a value; NaN where none has."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0).sum(0)
    count = finite.sum(0)
    return np.asarray(total / np.where(count > 0, count, np.nan))


def bootstrap_interval(
    values: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % interval of the mean over cells: 1,000 samples of cells with replacement.

    All edits see the same samples. An edit with one cell has an interval of no width.

    Parameters
    ----------
    values
        ``(n, e)`` of cells and edits.
    seed
        Of the samples.

    Returns
    -------
    Lower and upper end, ``(e,)`` each; NaN where no cell has a value.
    """
    cells, edits = values.shape
    rng = np.random.default_rng(seed)
    # How often each cell is drawn is all that a mean needs: the bootstrap becomes a product of matrices.
    weights = rng.multinomial(cells, np.full(cells, 1 / cells), _SAMPLES).astype(np.float64)
    low, high = np.full(edits, np.nan), np.full(edits, np.nan)
    for start in range(0, edits, _COLUMNS):
        part = values[:, start : start + _COLUMNS]
        finite = np.isfinite(part)
        mass = weights @ finite
        sampled = (weights @ np.where(finite, part, 0)) / np.where(mass > 0, mass, np.nan)
        some = finite.any(0)
        if some.any():
            ends = np.nanquantile(sampled[:, some], [0.025, 0.975], axis=0)
            low[start : start + _COLUMNS][some], high[start : start + _COLUMNS][some] = ends
    return low, high
