"""P values of a perturbation, by cell and by gene.

Dimensions: ``n`` cells · ``e`` edits · ``r`` random genes of a cell · ``d`` width · ``m`` cells whose state
labels are permuted · ``b`` permutations.

A model gives a gene much the same effect in every cell, so cells are no independent draws of it: with enough
of them any gene differs from the mean of random ones. :func:`paired_p` asks whether a gene differs from
random genes in these cells, and needs no more. What decides over genes takes the gene as the unit:
:func:`matched_p` places it among the random genes of its cells, and :func:`goal_p` asks whether it moves
cells toward the goal state more than toward random groups of as many cells.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["PERMUTATIONS", "goal_p", "matched_p", "paired_p", "percentiles"]

PERMUTATIONS = 9_999
# Up to so many cells the distribution of rank sums is exact; beyond, normal.
_EXACT = 40
_EDITS, _GROUPS = 512, 1024
# Shifts that differ by rounding alone count as equal.
_TIE = 1e-12


def percentiles(below: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fraction ``(e,)`` of the random genes of its cells whose shift lies below that of the gene.

    Parameters
    ----------
    below
        ``(n, e)`` fraction of the cell's random genes that lie below, ties by half; NaN without any.
    drawn
        ``(n, e, r)`` which random genes were drawn, -1 for none.
    """
    counts = _counts(below, drawn)
    total = counts.sum(0)
    wins = np.where(counts > 0, np.nan_to_num(below) * counts, 0).sum(0)
    return np.asarray(wins / np.where(total > 0, total, np.nan))


def paired_p(below: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Two-sided test of each gene's rank among the random genes of the same cell, summed over cells.

    Where gene and random genes are exchangeable within a cell, its rank is uniform whatever their
    distribution (Friedman 1937; with one random gene this is the sign test). Exact up to 40 cells.

    Parameters
    ----------
    below, drawn
        As for :func:`percentiles`.

    Returns
    -------
    ``(e,)``; NaN where no cell has a random gene.

    Examples
    --------
    >>> paired_p(np.ones((6, 1)), np.arange(6).reshape(6, 1, 1)).round(5).tolist()
    [0.03125]
    """
    from scipy.special import ndtr

    counts = _counts(below, drawn)
    p_values = np.full(below.shape[1], np.nan)
    for edit in range(below.shape[1]):
        sizes = counts[:, edit]
        used = sizes > 0
        # With one random gene a tie says nothing, as in the sign test.
        used &= ~((sizes == 1) & (below[:, edit] == 0.5))
        if not used.any():
            p_values[edit] = 1.0 if (sizes > 0).any() else np.nan
            continue
        sizes = sizes[used]
        gap = abs(float((below[used, edit] * sizes).sum() - sizes.sum() / 2))
        if len(sizes) <= _EXACT:
            chances = _rank_sums(tuple(np.bincount(sizes).tolist()))
            distance = np.abs(np.arange(len(chances)) - sizes.sum() / 2)
            p_values[edit] = min(1.0, float(chances[distance >= gap - 1e-9].sum()))
        else:
            # Variance of uniform ranks 0 to r: ((r + 1)² - 1) / 12.
            spread = np.sqrt((((sizes + 1.0) ** 2 - 1) / 12).sum())
            p_values[edit] = 2 * float(ndtr(-gap / spread))
    return p_values


def _counts(below: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(n, e)`` random genes of each cell and edit; 0 where nothing could be compared."""
    return np.where(np.isfinite(below), (drawn >= 0).sum(2), 0)


@cache
def _rank_sums(cells: tuple[int, ...]) -> NDArray[np.float64]:
    """Chance of each sum of ranks from 0, where ``cells[r]`` cells have ``r`` random genes each."""
    chances = np.ones(1)
    for size, count in enumerate(cells):
        for _ in range(count if size else 0):
            chances = np.convolve(chances, np.full(size + 1, 1 / (size + 1)))
    return chances


def matched_p(below: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Two-sided place of each gene among the different random genes that were drawn in its cells.

    The effect of a gene may be the same in every cell: what counts is how many random genes there are, not
    how many cells. No p value is below 2 / (random genes + 1).

    Parameters
    ----------
    below, drawn
        As for :func:`percentiles`.

    Returns
    -------
    ``(e,)``; NaN where no random gene was drawn.
    """
    fraction = percentiles(below, drawn)
    p_values = np.full(len(fraction), np.nan)
    for edit in np.flatnonzero(np.isfinite(fraction)):
        genes = np.unique(drawn[:, edit])
        different = len(genes) - int(genes[0] < 0)
        # Over the different genes, not the draws: the same gene drawn in many cells is one control.
        tail = min(fraction[edit], 1 - fraction[edit])
        p_values[edit] = min(1.0, 2 * (different * tail + 1) / (different + 1))
    return p_values


def goal_p(
    moved: NDArray[np.float64],
    cells: NDArray[np.float64],
    goals: int,
    *,
    seed: int,
    permutations: int = PERMUTATIONS,
) -> NDArray[np.float64]:
    """Two-sided p of the shift toward the goal, with the labels of the states permuted.

    The vectors of goal cells and of others are put together, and the goal is set to the mean of ``goals`` of
    them at random, many times. Where the labels say nothing the true goal is one such draw, whatever the
    genes and however alike their effects in all cells are. No p value is below 1 / (permutations + 1).

    Parameters
    ----------
    moved
        ``(e, d)`` mean step of a cell's unit vector by an edit, beyond that by random genes.
    cells
        ``(m, d)`` vectors of the goal cells, then of others.
    goals
        How many of ``cells`` are of the goal.
    seed, permutations
        Seed and number of the permutations.

    Returns
    -------
    ``(e,)`` p values.
    """
    groups = _directions(cells, goals, seed, permutations)
    p_values = np.empty(len(moved))
    for start in range(0, len(moved), _EDITS):
        # The first column is the goal as labelled, in the same sums as its permutations.
        toward = moved[start : start + _EDITS] @ groups.T
        distance = np.abs(toward - toward.mean(1, keepdims=True))
        reached = distance >= distance[:, :1] * (1 - 1e-9) - _TIE
        p_values[start : start + _EDITS] = reached.mean(1)
    return p_values


def _directions(cells: NDArray[np.float64], goals: int, seed: int, permutations: int) -> NDArray[np.float64]:
    """``(b + 1, d)`` directions of the goal's mean vector: as labelled first, then permuted."""
    rng = np.random.default_rng(seed)
    # Weights depend on the draw alone; sums over cells are one product of matrices a block.
    means = [cells[:goals].mean(0)[None]]
    for start in range(0, permutations, _GROUPS):
        count = min(_GROUPS, permutations - start)
        order = np.argpartition(rng.random((count, len(cells))), goals - 1, axis=1)[:, :goals]
        weights = np.zeros((count, len(cells)))
        np.put_along_axis(weights, order, 1 / goals, axis=1)
        means.append(weights @ cells)
    table = np.concatenate(means)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(table / np.where(lengths > 0, lengths, 1))
