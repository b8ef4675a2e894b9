"""Whether a set holds more members of a term than chance gives, by strata of like members.

Dimensions: ``u`` members of the universe · ``t`` terms · ``s`` strata · ``n`` members of the set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SMALLEST", "stratified_enrichment"]

SMALLEST = 1e-15
"""Smallest p value that is given: tails below it are lost in rounding."""


def stratified_enrichment(
    chosen: NDArray[np.bool_], terms: Any, strata: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """How many members of each term a set holds, how many chance gives, and the one-sided p value.

    The null hypothesis draws as many members of each stratum as the set has, so that a set of highly
    expressed genes is not compared with genes that nobody sees. The p value is exact: the tail of a sum of
    independent hypergeometric variables, one a stratum. With one stratum it is Fisher's exact test.

    Parameters
    ----------
    chosen
        ``(u,)`` members of the set.
    terms
        ``(t, u)`` scipy sparse: which members belong to each term, 0 or 1.
    strata
        ``(u,)`` stratum of each member, from 0.

    Returns
    -------
    Counts, expected counts and p values, ``(t,)`` each.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> terms = csr_matrix([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0]])
    >>> chosen = np.array([True, True, True, False, False, False])
    >>> count, expected, p = stratified_enrichment(chosen, terms, np.zeros(6, int))
    >>> count.tolist(), expected.tolist(), p.round(4).tolist()
    ([3, 1], [1.5, 1.0], [0.05, 0.8])
    """
    count = np.asarray(terms @ chosen.astype(np.int64)).ravel()
    sizes = int(strata.max(initial=0)) + 1
    most = int(count.max(initial=0))
    expected = np.zeros(len(count))
    # Probabilities of fewer than each count up to the largest that is asked about.
    below = np.zeros((len(count), most + 1))
    below[:, 0] = 1
    for stratum in range(sizes):
        members = strata == stratum
        total, drawn = int(members.sum()), int((members & chosen).sum())
        if not drawn:
            continue
        good = np.asarray(terms @ members.astype(np.int64)).ravel()
        expected += good * drawn / total
        chances = _hypergeometric(total, good, drawn, most)
        # The sum over strata is a convolution of their hypergeometric distributions.
        summed = np.zeros_like(below)
        for hits in range(min(drawn, most) + 1):
            summed[:, hits:] += chances[:, hits, None] * below[:, : most + 1 - hits]
        below = summed
    fewer = np.where(np.arange(most + 1) < count[:, None], below, 0).sum(1)
    return count, expected, np.clip(1 - fewer, SMALLEST, 1)


def _hypergeometric(total: int, good: NDArray[np.int64], drawn: int, most: int) -> NDArray[np.float64]:
    """``(t, min(drawn, most) + 1)`` chances of so many members of each term among those drawn."""
    from scipy.special import gammaln

    def ways(of: Any, some: Any) -> Any:
        return gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1)

    hits, good = np.arange(min(drawn, most) + 1), good[:, None]
    possible = (hits <= good) & (drawn - hits <= total - good)
    safe = np.where(possible, hits, np.maximum(drawn - total + good, 0))
    logs = ways(good, safe) + ways(total - good, drawn - safe) - ways(total, drawn)
    return np.where(possible, np.exp(logs), 0)
