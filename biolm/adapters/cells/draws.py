"""Random numbers of cells that change from epoch to epoch, by a counter hash.

Dimensions: ``n`` cells · ``k`` things that are drawn for, such as genes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import cell_keys

__all__ = ["CellSeeds", "cell_seeds", "draw", "seeds_of", "uniform"]

_EPOCH = 0x5851F42D4C957F2D  # any large odd number: seeds of neighbouring runs and epochs must not meet

Seed = np.uint32 | NDArray[np.uint32]
# The two 32-bit seeds of each cell.
CellSeeds = tuple[NDArray[np.uint32], NDArray[np.uint32]]


def cell_seeds(keys: NDArray[np.int64], seed: int, epoch: int) -> CellSeeds:
    """Two seeds ``(n,)`` of each cell.

    Parameters
    ----------
    keys
        ``(n,)`` number of each cell in the whole data set.
    seed, epoch
        Of the run.
    """
    low, high = seeds_of(cell_keys(np.zeros(1, np.int64), seed + epoch * _EPOCH)[0])
    number = keys.astype(np.uint64)
    lower, upper = ((number >> np.uint64(bits)).astype(np.uint32) for bits in (0, 32))
    return draw((low ^ upper, high), lower), draw((high ^ upper, low), lower)


def uniform(seeds: tuple[Seed, Seed], counter: NDArray[np.int32]) -> NDArray[np.float64]:
    """Numbers inside (0, 1) of each counter ``(k,)``; seeds of one cell, or a pair for each counter.

    Parameters
    ----------
    seeds
        Of one cell, or a pair for each counter.
    counter
        ``(k,)``.

    Examples
    --------
    >>> seeds = cell_seeds(np.array([7, 8]), seed=0, epoch=1)
    >>> uniform((seeds[0][1], seeds[1][1]), np.arange(3, dtype=np.int32)).round(2).tolist()
    [0.4, 0.12, 0.35]
    """
    return (draw(seeds, counter).astype(np.float64) + 0.5) * 2.0**-32


def draw(seeds: tuple[Seed, Seed], gene: NDArray[np.int32] | NDArray[np.uint32]) -> NDArray[np.uint32]:
    """32 random bits of each gene in a cell, from nothing but the cell's seeds and the token ids.

    The same bits as the compiled :mod:`~biolm.adapters.cells.kernels.draw_numba`, which names their source.

    Parameters
    ----------
    seeds
        Those of one cell, or one pair for each gene.
    gene
        ``(k,)`` token ids.
    """
    h = gene.astype(np.uint32) * np.uint32(0x9E3779B9) + seeds[0]
    h = ((h ^ (h >> np.uint32(16))) * np.uint32(0x21F0AAAD)) ^ seeds[1]
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0xD35A2D97)
    drawn: NDArray[np.uint32] = h ^ (h >> np.uint32(15))
    return drawn


def seeds_of(cell: np.uint64) -> tuple[np.uint32, np.uint32]:
    """The two seeds of a cell: the low and the high half of its key."""
    return np.uint32(cell & np.uint64(0xFFFFFFFF)), np.uint32(cell >> np.uint64(32))
