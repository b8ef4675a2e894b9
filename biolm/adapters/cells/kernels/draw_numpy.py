"""Random bits by a counter hash in numpy; the twin in :mod:`draw_numba` explains it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw"]

Seed = np.uint32 | NDArray[np.uint32]


def draw(seeds: tuple[Seed, Seed], gene: NDArray[np.int32] | NDArray[np.uint32]) -> NDArray[np.uint32]:
    """32 random bits of each gene in a cell, from nothing but the cell's seeds and the token ids.

    Seeds are those of one cell, or one pair for each gene.
    """
    h = gene.astype(np.uint32) * np.uint32(0x9E3779B9) + seeds[0]
    h = ((h ^ (h >> np.uint32(16))) * np.uint32(0x21F0AAAD)) ^ seeds[1]
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0xD35A2D97)
    drawn: NDArray[np.uint32] = h ^ (h >> np.uint32(15))
    return drawn


def seeds_of(cell: np.uint64) -> tuple[np.uint32, np.uint32]:
    """The two seeds of a cell: the low and the high half of its key."""
    return np.uint32(cell & np.uint64(0xFFFFFFFF)), np.uint32(cell >> np.uint64(32))
