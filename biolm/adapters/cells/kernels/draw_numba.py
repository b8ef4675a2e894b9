"""Compiled random bits by a counter hash; its twin in plain numpy gives the same ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled

__all__ = ["draw"]


@compiled
def draw(seeds: tuple[np.uint32, np.uint32], gene: NDArray[np.int32], drawn: NDArray[np.uint32]) -> None:
    """32 random bits of each gene in a cell, from nothing but the cell's seeds and the token ids.

    A counter hash: two multiply-xorshift rounds with constants found by Wellons' search for low bias
    (hash-prospector, 2018), the second seed entering between them.

    Parameters
    ----------
    seeds
        Of the cell.
    gene
        ``(k,)`` token ids.
    drawn
        ``(k,)``, written.
    """
    for place in range(len(gene)):
        h = np.uint32(np.uint32(gene[place]) * np.uint32(0x9E3779B9) + seeds[0])
        h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x21F0AAAD)) ^ seeds[1]
        h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0xD35A2D97))
        drawn[place] = h ^ (h >> np.uint32(15))
