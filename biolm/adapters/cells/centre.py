"""Centring: vectors standardised over their dataset, in memory or piece by piece.

Dimensions: ``n`` cells · ``d`` width of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Centring", "centring_of"]

_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Centring:
    """What takes mean 0 and standard deviation 1 to every axis of a dataset.

    Parameters
    ----------
    mean
        ``(d,)`` float64.
    factor
        ``(d,)`` float64, one over the standard deviation; 0 on axes where all cells agree.
    """

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centred rows ``(n, d)``; rows of zeros, which are empty cells, stay zero."""
        full = vectors.any(1)
        out = np.zeros_like(vectors)
        out[full] = (vectors[full] - self.mean) * self.factor
        return out


def centring_of(vectors: NDArray[np.float32]) -> Centring:
    """Mean and deviation of the rows that are not zero, summed in fixed steps of rows.

    It takes away what all cells share, above all the gene panel, so it helps to compare datasets; but a
    cell's vector then depends on the cells beside it.

    Examples
    --------
    >>> vectors = np.array([[1.0, 5.0], [0.0, 0.0], [3.0, 5.0]], np.float32)
    >>> centring_of(vectors)(vectors).tolist()
    [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """
    starts = range(0, len(vectors), _ROWS)
    count, total = 0, np.zeros(vectors.shape[1])
    for start in starts:
        part = np.asarray(vectors[start : start + _ROWS])
        count += int(part.any(1).sum())
        total += part.sum(0, dtype=np.float64)
    mean = total / max(1, count)
    squares, largest = np.zeros(vectors.shape[1]), np.zeros(vectors.shape[1])
    for start in starts:
        part = np.asarray(vectors[start : start + _ROWS])
        part = part[part.any(1)]
        squares += ((part - mean) ** 2).sum(0)
        largest = np.maximum(largest, np.abs(part).max(0, initial=0))
    deviation = np.sqrt(squares / max(1, count))
    # An axis on which all cells agree is left at zero instead of blowing up rounding noise.
    flat = deviation <= 1e-6 * largest
    return Centring(mean, np.where(flat, 0.0, 1 / np.where(flat, 1.0, deviation)))
