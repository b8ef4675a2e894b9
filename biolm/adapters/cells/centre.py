"""Centring: the mean of a dataset taken from its vectors, in memory or piece by piece.

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
    """What moves the mean of a dataset to zero.

    The axes keep their scales: a model may give its more reliable axes more room, and dividing by the
    deviation would take that away.

    Parameters
    ----------
    mean
        ``(d,)`` float64.
    """

    mean: NDArray[np.float64]

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centred rows ``(n, d)``; rows of zeros, which are empty cells, stay zero."""
        full = vectors.any(1)
        out = np.zeros_like(vectors)
        out[full] = vectors[full] - self.mean
        return out


def centring_of(vectors: NDArray[np.float32]) -> Centring:
    """Mean of the rows that are not zero, summed in fixed steps of rows.

    It takes away what all cells share, above all the gene panel, so it helps to compare datasets; but a
    cell's vector then depends on the cells beside it.

    Examples
    --------
    >>> vectors = np.array([[1.0, 5.0], [0.0, 0.0], [3.0, 5.0]], np.float32)
    >>> centring_of(vectors)(vectors).tolist()
    [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """
    count, total = 0, np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), _ROWS):
        part = np.asarray(vectors[start : start + _ROWS])
        count += int(part.any(1).sum())
        total += part.sum(0, dtype=np.float64)
    return Centring(total / max(1, count))
