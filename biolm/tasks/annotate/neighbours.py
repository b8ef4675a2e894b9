"""Votes of the nearest training cells.

Dimensions: ``n`` cells · ``r`` reference cells · ``d`` width · ``c`` classes · ``k`` neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Neighbours"]

# Cells compared at a time, so that similarities take little memory.
_ROWS = 2048
# What a class without a vote gets, so that a logit is finite.
_FLOOR = 0.1


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The training cells themselves.

    Parameters
    ----------
    points
        ``(r, d)`` float32 vectors of length 1, after ``centre`` was taken away.
    codes
        ``(r,)`` their classes.
    centre
        ``(d,)`` mean of the training vectors.
    n_classes
        ``c``.
    k
        Neighbours that vote; a vote weighs its similarity.
    """

    points: NDArray[np.float32]
    codes: NDArray[np.int64]
    centre: NDArray[np.float32]
    n_classes: int
    k: int

    reads_genes = False
    reads_vectors = True

    @classmethod
    def fit(
        cls, vectors: NDArray[np.float32], codes: NDArray[np.int64], n_classes: int, k: int
    ) -> Neighbours:
        """Keep the training cells.

        Parameters
        ----------
        vectors
            ``(r, d)`` of the reference cells.
        codes
            ``(r,)`` their classes.
        n_classes
            ``c``.
        k
            Neighbours that vote; all cells where there are fewer.
        """
        # Embeddings often share a large common part, beside which all cosines are near 1.
        centre = vectors.mean(0)
        return cls(_units(vectors - centre), codes, centre, n_classes, min(k, len(codes)))

    def logits(self, vectors: NDArray[np.float32], table: Any = None) -> NDArray[np.float64]:  # noqa: ARG002  # as a linear map
        """``(n, c)`` logarithms of the shares of the vote."""
        votes = np.zeros((len(vectors), self.n_classes))
        for start in range(0, len(vectors), _ROWS):
            part = slice(start, start + _ROWS)
            alike = _units(vectors[part] - self.centre) @ self.points.T
            nearest = np.argpartition(-alike, self.k - 1, axis=1)[:, : self.k]
            # A vote of an unlike cell (cosine below 0) would count against its own class.
            weights = np.maximum(np.take_along_axis(alike, nearest, 1), 1e-3)
            rows = np.arange(start, start + len(alike))[:, None]
            np.add.at(votes, (rows, self.codes[nearest]), weights / weights.sum(1, keepdims=True))
        return np.log(votes + _FLOOR / self.k)


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; rows of zeros stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
