"""Niches: what surrounds a spot, as labels to predict.

Dimensions: ``n`` spots · ``c`` kinds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.adapters.spatial.graph import Neighbours
from biolm.errors import InputError

__all__ = ["niche_composition"]


def niche_composition(
    labels: ArrayLike, neighbours: Neighbours
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Fractions of each kind among the neighbours of a spot, its own kind not counted.

    Parameters
    ----------
    labels
        ``(n,)`` kind of each spot; ``""`` or ``"nan"`` for unknown, which is not counted.
    neighbours
        Of the same spots, usually :func:`~biolm.adapters.spatial.graph.within_radius`.

    Returns
    -------
    ``(n, c)`` fractions, NaN for a spot without a known neighbour, and the ``c`` names in order.

    Raises
    ------
    InputError
        If the lengths differ or no label is known.
    """
    names = np.asarray(labels).astype(str)
    if len(names) != neighbours.n:
        raise InputError(f"{len(names)} labels came with {neighbours.n} spots; give one label a spot")
    known = ~np.isin(names, ("", "nan"))
    if not known.any():
        raise InputError("no spot has a label, so niches have nothing to be made of")
    kinds, codes = np.unique(names[known], return_inverse=True)
    number = np.full(len(names), -1)
    number[known] = codes
    kept = number[neighbours.others] >= 0
    table = np.zeros((neighbours.n, len(kinds)))
    np.add.at(table, (neighbours.spots[kept], number[neighbours.others[kept]]), 1.0)
    total = table.sum(1, keepdims=True)
    return np.where(total > 0, table / np.maximum(total, 1), np.nan), kinds
