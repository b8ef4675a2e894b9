"""Read-depth-aware down-sampling (scFoundation's RDA): fewer counts of the same cell, drawn by a hash.

Dimensions: ``n`` cells of a block · ``nnz`` stored values.

Half of the cells keep each of their counts with a probability of their own, drawn from Beta(2, 2); a model
that is told both totals learns what more reads would have shown (Hao et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.draws import CellSeeds, cell_seeds, uniform
from biolm.errors import ConfigError, InputError
from biolm.io.cells.block import CellBlock

__all__ = ["Downsampled", "Downsampling", "binomial"]

_SMALL = 64  # counts up to here are drawn by adding up probabilities, larger ones by halving an interval
_CHOOSE, _RATE = -1, -2  # counters of a cell's own draws; genes count from 0


@dataclass(frozen=True, slots=True)
class Downsampled:
    """A block with fewer counts.

    Parameters
    ----------
    block
        The counts that are left; values that became 0 stay as explicit zeros, so genes keep their places.
    rates
        ``(n,)`` chance of each count to be kept; 1 for cells that were left alone.
    before, after
        ``(n,)`` total count of each cell.
    """

    block: CellBlock
    rates: NDArray[np.float64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Downsampling:
    """How counts are down-sampled.

    Parameters
    ----------
    share
        Of the cells that are down-sampled.
    alpha, beta
        Of the Beta distribution of the rates.
    totals
        Least and largest total count that down-sampled cells are to have, drawn log-uniformly, in place of a
        rate from the Beta distribution; cells with less stay as they are. Empty for rates.

    Raises
    ------
    ConfigError
        For a fraction outside 0 to 1, parameters that are not above 0, or totals that are not two in order.

    Examples
    --------
    >>> block = CellBlock(0, np.array([9, 5, 100]), np.array([0, 1, 0], np.int32), np.array([0, 2, 3]), 2)
    >>> fewer = Downsampling(share=1.0).apply(block, seed=0)
    >>> bool((fewer.block.data <= block.data).all())
    True
    """

    share: float = 0.5
    alpha: float = 2.0
    beta: float = 2.0
    totals: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.totals and not (len(self.totals) == 2 and 0 < self.totals[0] <= self.totals[1]):
            raise ConfigError(f"totals must be two numbers above 0 in order, not {list(self.totals)}")
        if not 0 <= self.share <= 1:
            raise ConfigError(f"share must lie between 0 and 1, not {self.share}")
        if not (self.alpha > 0 and self.beta > 0):
            raise ConfigError(f"alpha and beta must be above 0, not {self.alpha} and {self.beta}")

    def apply(
        self, block: CellBlock, *, seed: int, epoch: int = 0, keys: NDArray[np.int64] | None = None
    ) -> Downsampled:
        """Down-sample a block of raw counts.

        Parameters
        ----------
        block
            Raw counts.
        seed, epoch
            Of the run; each epoch draws anew.
        keys
            ``(n,)`` number of each cell in the whole data set; its row number by default. A cell's result
            depends on seed, epoch, its number and its counts alone.

        Raises
        ------
        InputError
            If a value is negative or not whole.
        """
        counts = _checked(block)
        if keys is None:
            keys = block.numbers
        seeds = cell_seeds(keys, seed, epoch)
        owner = np.repeat(np.arange(len(block)), np.diff(block.indptr))
        total = np.bincount(owner, weights=counts, minlength=len(block)).astype(np.float64)
        rates = self._rates(seeds, total)
        kept = counts.copy()
        chosen = (rates < 1)[owner]
        cell = owner[chosen]
        chance = uniform((seeds[0][cell], seeds[1][cell]), block.indices[chosen])
        kept[chosen] = binomial(counts[chosen], rates[cell], chance)
        before, after = (
            np.bincount(owner, weights=part, minlength=len(block)).astype(np.float64)
            for part in (counts, kept)
        )
        return Downsampled(replace(block, data=kept.astype(block.data.dtype)), rates, before, after)

    def _rates(self, seeds: CellSeeds, total: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(n,)`` chance of each count of a cell to be kept."""
        from scipy.special import betaincinv

        chosen, place = (uniform(seeds, np.full(len(seeds[0]), use, np.int32)) for use in (_CHOOSE, _RATE))
        if self.totals:
            low, high = self.totals
            rate = np.minimum(low * (high / low) ** place / np.maximum(total, 1), 1.0)
        else:
            rate = betaincinv(self.alpha, self.beta, place)
        return np.where(chosen < self.share, rate, 1.0)


def _checked(block: CellBlock) -> NDArray[np.float64]:
    counts = block.data.astype(np.float64)
    if len(counts) and (counts.min() < 0 or not np.array_equal(counts, np.rint(counts))):
        raise InputError(
            "down-sampling needs raw counts, whole numbers of 0 or more; give the layer of counts"
        )
    return counts


def binomial(
    counts: NDArray[np.float64], rates: NDArray[np.float64], uniform: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Binomial numbers by inverting the distribution: the smallest ``k`` with ``P(X ≤ k) > u``.

    Parameters
    ----------
    counts, rates
        Trials and chance of each, any one shape.
    uniform
        Numbers in [0, 1).

    Examples
    --------
    >>> binomial(np.array([1.0, 1.0, 200.0]), np.full(3, 0.5), np.array([0.2, 0.7, 0.5])).tolist()
    [0.0, 1.0, 100.0]
    """
    # Most counts of a cell are 1: a coin.
    drawn: NDArray[np.float64] = ((counts == 1) & (uniform >= 1 - rates)).astype(np.float64)
    small = (counts > 1) & (counts <= _SMALL)
    large = counts > _SMALL
    drawn[small] = _by_sum(counts[small], rates[small], uniform[small])
    drawn[large] = _by_halving(counts[large], rates[large], uniform[large])
    return drawn


def _by_sum(
    counts: NDArray[np.float64], rates: NDArray[np.float64], uniform: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Add up probabilities from ``k = 0``, for all numbers that have not reached theirs yet."""
    drawn = np.zeros_like(counts)
    # Counting what is lost in place of what is kept, where that is rarer, ends sooner and never underflows.
    turned = rates > 0.5
    rate = np.where(turned, 1 - rates, rates)
    left = np.where(turned, np.nextafter(1 - uniform, 0), uniform)
    chance = (1 - rate) ** counts
    odds = rate / (1 - rate)
    rows = np.flatnonzero(left >= chance)
    left = left[rows] - chance[rows]
    for k in range(_SMALL):
        if not len(rows):
            break
        chance[rows] *= odds[rows] * (counts[rows] - k) / (k + 1)
        drawn[rows] = k + 1
        going = (left >= chance[rows]) & (k + 1 < counts[rows])
        left = (left - chance[rows])[going]
        rows = rows[going]
    return np.where(turned, counts - drawn, drawn)


def _by_halving(
    counts: NDArray[np.float64], rates: NDArray[np.float64], uniform: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Halve the interval that holds ``k``, by the regularised incomplete beta function."""
    from scipy.special import bdtr

    low, high = np.full_like(counts, -1.0), counts.copy()
    while np.any(high - low > 1):
        middle = np.floor((low + high) / 2)
        above = bdtr(np.maximum(middle, 0), counts.astype(np.int64), rates) > uniform
        high = np.where(above & (middle >= 0), middle, high)
        low = np.where(above | (high - low <= 1), low, middle)
    return high
