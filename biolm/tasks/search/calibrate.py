"""How far neighbours of a reference cell lie, so that a query that lies farther is recognised.

Dimensions: ``s`` sampled reference cells · ``n`` reference cells · ``d`` width · ``c`` neighbours kept.

Each sampled cell is searched among the others, as if it were a query: leave-one-out. A query whose mean
distance to its neighbours is larger than that of nearly every reference cell is out of reference. Cells of
a new experiment lie farther than cells of the same one even when their type is known; where the reference
has several batches, leaving a cell's whole batch out makes the comparison fair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.search.exact import exact_neighbours

__all__ = ["Calibration", "calibrate"]

_SAMPLE = 2000
_NEIGHBOURS = 50


@dataclass(frozen=True, slots=True)
class Calibration:
    """Leave-one-out distances of the reference.

    Parameters
    ----------
    distances
        ``(s, c)`` float32, nearest first; infinity where a cell has fewer neighbours.

    Examples
    --------
    >>> calibration = Calibration(np.array([[0.1, 0.2], [0.2, 0.4], [0.3, 0.3]], np.float32))
    >>> calibration.statistic(np.array([[0.2, 0.2, 0.9]])).round(2).tolist()
    [0.2]
    >>> round(calibration.threshold(k=2, fraction=0.5), 2)
    0.3
    """

    distances: NDArray[np.float32]

    def statistic(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean distance ``(q,)`` to the nearest neighbours, at most as many as were kept here."""
        used = distances[:, : self.distances.shape[1]]
        return np.asarray(used.mean(1), np.float64)

    def threshold(self, k: int, fraction: float) -> float:
        """Mean distance to ``k`` neighbours that a ``fraction`` of the reference's cells does not exceed.

        Parameters
        ----------
        k
            Neighbours.
        fraction
            Of the reference's cells that are at most so far from their own neighbours.
        """
        return float(np.quantile(self._own(k), fraction))

    def _own(self, k: int) -> NDArray[np.float64]:
        means = self.distances[:, :k].astype(np.float64).mean(1)
        finite = means[np.isfinite(means)]
        return finite if len(finite) else np.zeros(1)


def calibrate(
    vectors: NDArray[np.float32], *, metric: str, batches: NDArray[np.int64] | None, seed: int
) -> Calibration:
    """Search sampled cells of the reference among the others.

    Parameters
    ----------
    vectors
        ``(n, d)`` as the index stores them.
    metric
        As for :func:`~biolm.tasks.search.exact.exact_neighbours`.
    batches
        ``(n,)`` codes; neighbours of a cell's own batch do not count. None leaves out the cell alone.
    seed
        Seeds the sample.
    """
    total = len(vectors)
    rows = np.sort(np.random.default_rng(seed).choice(total, min(total, _SAMPLE), replace=False))
    # Each cell leaves itself out, or its whole batch: a query comes from another experiment too.
    codes = np.arange(total) if batches is None else batches
    k = max(1, min(_NEIGHBOURS, total - 1))
    queries = np.asarray(vectors[rows])
    _, distances = exact_neighbours(queries, vectors, k, metric=metric, groups=(codes[rows], codes))
    return Calibration(distances.astype(np.float32))
