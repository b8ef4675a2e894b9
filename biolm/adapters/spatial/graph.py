"""Who lies beside whom.

Dimensions: ``n`` spots · ``k`` neighbours · ``e`` edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError

__all__ = ["Neighbours", "nearest", "within_radius"]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Edges from spots to their neighbours; a spot is not its own.

    Parameters
    ----------
    spots, others
        ``(e,)`` rows, ordered by spot and then by distance.
    distance
        ``(e,)`` in the unit of the places.
    n
        Spots.
    """

    spots: NDArray[np.int64]
    others: NDArray[np.int64]
    distance: NDArray[np.float64]
    n: int

    @property
    def counts(self) -> NDArray[np.int64]:
        """``(n,)`` neighbours of each spot."""
        return np.bincount(self.spots, minlength=self.n)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the neighbours of each spot of ``(n, …)`` values; zeros for a spot without any."""
        flat = np.asarray(values, np.float64).reshape(self.n, -1)
        total = np.zeros_like(flat)
        np.add.at(total, self.spots, flat[self.others])
        out: NDArray[np.float64] = total / np.maximum(self.counts, 1)[:, None]
        return out.reshape(values.shape)

    def table(self, k: int) -> NDArray[np.int64]:
        """``(n, k)`` nearest neighbours, -1 where a spot has fewer."""
        counts = self.counts
        starts = np.cumsum(counts) - counts
        place = np.arange(len(self.spots)) - np.repeat(starts, counts)
        out = np.full((self.n, k), -1, np.int64)
        kept = place < k
        out[self.spots[kept], place[kept]] = self.others[kept]
        return out


def nearest(xy: NDArray[np.float64], k: int) -> Neighbours:
    """The ``k`` nearest spots of each spot, fewer where the section has fewer; ties by row.

    Parameters
    ----------
    xy
        ``(n, 2)`` coordinates.
    k
        Neighbours.

    Raises
    ------
    ConfigError
        If ``k`` is below 1.
    """
    if k < 1:
        raise ConfigError(f"a spot needs at least 1 neighbour, not {k}")
    from scipy.spatial import KDTree

    n = len(xy)
    k = min(k, n - 1)
    if k < 1:
        empty = np.empty(0, np.int64)
        return Neighbours(empty, empty, np.empty(0), n)
    # A few more are asked for, so that the choice among equally far ones does not depend on the tree.
    distance, others = KDTree(xy).query(xy, k=min(n, k + 7))
    spots = np.repeat(np.arange(n), others.shape[1])
    flat, far = others.ravel(), np.round(distance.ravel(), 6)
    order = np.lexsort((flat, far, spots))
    # By number and not by distance 0: two spots may lie at one place.
    order = order[flat[order] != spots[order]]
    counts = np.bincount(spots[order], minlength=n)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = order[place < k]
    return Neighbours(spots[kept], flat[kept], distance.ravel()[kept], n)


def within_radius(xy: NDArray[np.float64], radius: float) -> Neighbours:
    """All spots within ``radius`` of each spot.

    Parameters
    ----------
    xy
        ``(n, 2)`` coordinates.
    radius
        In their unit.

    Raises
    ------
    InputError
        If most spots have no neighbour, so that the radius cannot be meant in this unit.
    """
    from scipy.spatial import KDTree

    pairs = KDTree(xy).query_pairs(radius, output_type="ndarray").astype(np.int64).reshape(-1, 2)
    spots, others = np.concatenate((pairs, pairs[:, ::-1])).T
    distance = np.hypot(*(xy[spots] - xy[others]).T)
    order = np.lexsort((others, distance, spots))
    neighbours = Neighbours(spots[order], others[order], distance[order], len(xy))
    alone = float((neighbours.counts == 0).mean())
    if alone > 0.5:
        raise InputError(
            f"{alone:.0%} of the spots have no neighbour within {radius:g}; give a larger radius, in the "
            "unit of the coordinates"
        )
    return neighbours
