"""Factor analysis over data sets that measured different genes, fitted by expectation maximisation.

Dimensions: ``s`` sets · ``n`` cells of a set · ``k`` genes · ``p`` genes of a set · ``d`` factors.

y = μ_set + W z + ε, z ~ N(0, I), ε ~ N(0, Ψ) (Rubin and Thayer 1982). Genes that a set did not measure are
left out of its sums, so nothing is imputed. Sets are read one at a time, in every round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FactorSet", "Factors", "fit_factors"]

LEAST_NOISE = 0.02
_GENES = 1000


@dataclass(frozen=True, eq=False)
class FactorSet:
    """One set of cells as the fit reads it.

    Parameters
    ----------
    read
        Gives the log counts, scipy sparse ``(n, p)``.
    genes
        ``(p,)`` their rows among the ``k`` genes.
    mean, variance
        ``(p,)`` over the cells of the set.
    """

    read: Callable[[], Any]
    genes: NDArray[np.int64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Factors:
    """Loadings ``(k, d)`` by falling signal, and the noise ``(k,)`` of each gene."""

    loadings: NDArray[np.float64]
    noise: NDArray[np.float64]


def fit_factors(
    sets: Sequence[FactorSet],
    genes: int,
    *,
    factors: int,
    rounds: int,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Factors:
    """Loadings and noise that make the sets likely.

    Parameters
    ----------
    sets
        Every gene is measured in one of them at least.
    genes
        ``k``.
    factors
        ``d``.
    rounds
        Of expectation maximisation.
    seed
        Of the loadings that the fit starts from.
    advance
        Called with 1 after each set that was read.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> rng = np.random.default_rng(0)
    >>> true = rng.normal(size=(30, 2))
    >>> cells = rng.normal(size=(400, 2)) @ true.T + 0.3 * rng.normal(size=(400, 30))
    >>> one = FactorSet(lambda: csr_matrix(cells), np.arange(30), cells.mean(0), cells.var(0))
    >>> found = fit_factors([one], 30, factors=2, rounds=20, seed=0).loadings
    >>> left = true - found @ np.linalg.lstsq(found, true)[0]
    >>> bool(np.linalg.norm(left) < 0.1 * np.linalg.norm(true))
    True
    """
    rng = np.random.default_rng(seed)
    present = np.zeros((len(sets), genes), bool)
    for place, one in enumerate(sets):
        present[place, one.genes] = True
    squares, cells = np.zeros(genes), np.zeros(genes)
    noise = np.zeros(genes)
    for one in sets:
        # All of a gene's variance is noise before there are factors: the mean over the sets that measure it.
        noise[one.genes] += one.variance / present[:, one.genes].sum(0)
    noise = np.maximum(noise, LEAST_NOISE)
    loadings = rng.standard_normal((genes, factors)) * np.sqrt(noise / factors)[:, None]
    for _ in range(rounds):
        cross, squares, cells = np.zeros((genes, factors)), np.zeros(genes), np.zeros(genes)
        second = np.empty((len(sets), factors, factors))
        total = 0
        for place, one in enumerate(sets):
            count, second[place], part = _expected(one, loadings[one.genes], noise[one.genes])
            cross[one.genes] += part
            squares[one.genes] += count * one.variance
            cells[one.genes] += count
            total += count
            advance(1)
        loadings, noise = _maximised(present, second, cross, squares, cells, noise)
        # Expanded parameters (Liu, Rubin and Wu 1998): a unit prior fits again, and fewer rounds are needed.
        loadings = loadings @ np.linalg.cholesky(second.sum(0) / total)
    return _rotated(loadings, noise)


def _expected(
    one: FactorSet, loadings: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Cells of a set, sum of E[z zᵀ] ``(d, d)`` and of (y - μ) E[z]ᵀ ``(p, d)``."""
    values = one.read()
    weighted = loadings / noise[:, None]
    covariance = np.linalg.inv(np.eye(loadings.shape[1]) + loadings.T @ weighted)
    # By the identity of Woodbury: a matrix of factors is inverted, and never one of genes.
    projection = weighted @ covariance
    # The mean is taken off the product, so that the counts stay sparse.
    means = values @ projection - one.mean @ projection
    second = len(means) * covariance + means.T @ means
    return len(means), second, values.T @ means - np.outer(one.mean, means.sum(0))


def _maximised(
    present: NDArray[np.bool_],
    second: NDArray[np.float64],
    cross: NDArray[np.float64],
    squares: NDArray[np.float64],
    cells: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """New loadings, with a prior of unit variance, and new noise; one linear system a gene."""
    width = cross.shape[1]
    loadings, left = np.empty_like(cross), np.empty_like(noise)
    for start in range(0, len(cross), _GENES):
        part = slice(start, start + _GENES)
        shared = (present[:, part].T.astype(float) @ second.reshape(len(second), -1)).reshape(
            -1, width, width
        )
        prior = noise[part, None, None] * np.eye(width)
        solved = np.linalg.solve(shared + prior, cross[part, :, None])[:, :, 0]
        loadings[part] = solved
        explained = np.einsum("gd,gde,ge->g", solved, shared, solved, optimize=True)
        left[part] = squares[part] - 2 * (solved * cross[part]).sum(1) + explained
    return loadings, np.maximum(left / cells, LEAST_NOISE)


def _rotated(loadings: NDArray[np.float64], noise: NDArray[np.float64]) -> Factors:
    """Axes along which signal over noise is diagonal, by falling signal; the largest loading is positive."""
    values, axes = np.linalg.eigh(loadings.T @ (loadings / noise[:, None]))
    rotated = loadings @ axes[:, np.argsort(-values)]
    # The sign of a factor is arbitrary; fixed, so that two fits of the same cells compare.
    largest = rotated[np.abs(rotated).argmax(0), np.arange(rotated.shape[1])]
    return Factors(rotated * np.sign(largest), noise)
