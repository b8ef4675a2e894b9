"""Do genes find their image, and images their genes? Recall at k and median rank, both ways, with chance.

Dimensions: ``n`` queries · ``m`` gallery entries · ``d`` width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError
from biolm.scoring.quality import unit_rows

__all__ = ["RECALLS", "Retrieval", "retrieve_both_ways", "retrieve_partners"]

RECALLS = (1, 5, 10)
SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well queries find their partners.

    Parameters
    ----------
    ranks
        ``(n,)`` rank of each partner, from 1; of tied entries each gets the mean of their ranks, so that a
        gallery of equal vectors is no success.
    gallery
        ``m``.
    """

    ranks: NDArray[np.float64]
    gallery: int

    def recall(self, k: int) -> float:
        """Fraction of the queries whose partner is among the first ``k``."""
        return float((self.ranks <= k).mean())

    def chance(self, k: int) -> float:
        """What guessing gives: ``k / m``."""
        return min(k / self.gallery, 1.0)

    def interval(self, k: int, *, seed: int = 0) -> tuple[float, float]:
        """95 % of recall at ``k`` under resampling of the queries.

        The percentile bootstrap of Efron and Tibshirani (1993).

        Parameters
        ----------
        k
            How many of the nearest are looked at.
        seed
            Of the resampling.
        """
        rng = np.random.default_rng(seed)
        hits = (self.ranks <= k)[rng.integers(0, len(self.ranks), (SAMPLES, len(self.ranks)))].mean(1)
        low, high = np.percentile(hits, [2.5, 97.5])
        return float(low), float(high)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a report."""
        fields: dict[str, Any] = {
            "queries": len(self.ranks),
            "gallery": self.gallery,
            "median_rank": float(np.median(self.ranks)),
            "median_rank_chance": (self.gallery + 1) / 2,
        }
        for k in RECALLS:
            low, high = self.interval(k)
            fields[f"recall_at_{k}"] = {
                "value": round(self.recall(k), 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "chance": round(self.chance(k), 4),
            }
        return fields


def retrieve_partners(queries: ArrayLike, gallery: ArrayLike) -> Retrieval:
    """Rank every query's partner in the gallery, the row of its own number, by the cosine.

    Parameters
    ----------
    queries
        ``(n, d)``.
    gallery
        ``(m, d)``, at least as many rows as there are queries.

    Raises
    ------
    InputError
        If widths differ, or a query has no partner.

    Examples
    --------
    >>> found = retrieve_partners([[1.0, 0], [0, 1]], [[2.0, 0.1], [0.1, 3]])
    >>> found.ranks.tolist(), found.chance(1)
    ([1.0, 1.0], 0.5)
    """
    a, b = unit_rows(np.asarray(queries)), unit_rows(np.asarray(gallery))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"queries {a.shape} and gallery {b.shape} must be vectors of one width")
    if len(a) > len(b):
        raise InputError(f"{len(a)} queries need one partner each among the {len(b)} entries of the gallery")
    # Rounding of the product must not decide between equal vectors.
    similar = np.round(a @ b.T, 9)
    partner = np.diagonal(similar)[:, None]
    above = (similar > partner).sum(1)
    # Ties take their mean rank: vectors that are all alike score as chance does.
    tied = (similar == partner).sum(1) - 1
    return Retrieval(above + tied / 2 + 1.0, len(b))


def retrieve_both_ways(genes: ArrayLike, image: ArrayLike) -> dict[str, Retrieval]:
    """Genes that look for their image, and images that look for their genes; row ``i`` is row ``i``'s.

    Parameters
    ----------
    genes, image
        ``(n, d)`` vectors of the same spots.
    """
    return {
        "genes to image": retrieve_partners(genes, image),
        "image to genes": retrieve_partners(image, genes),
    }
