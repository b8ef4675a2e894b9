"""Directions of the text space on which measured cells differ reliably.

Dimensions: ``n`` cells · ``m`` genes · ``f`` width of the text vectors · ``d`` axes.

A cell is a weighted mean of text vectors. Along a random direction of the text space that mean varies little
more than it would if every gene went its own way; along some directions the genes of a cell agree. An axis
is kept for that agreement: the share of its variance over cells that comes from pairs of *different* genes,
which is the share that two disjoint halves of the genes would have in common. No label is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, diags


@dataclass(frozen=True)
class Moments:
    """Second moments of cell vectors of one data set.

    ``mean (f,)``; ``both (f, f)`` covariance over cells; ``own (f, f)`` the part of it that genes would
    give if they were independent.
    """

    mean: NDArray[np.float64]
    both: NDArray[np.float64]
    own: NDArray[np.float64]


def weights(path: Path, rows: dict[str, int], factors: NDArray[np.float32]) -> csr_matrix:
    """``(n, m)`` weights of the genes of each cell, as ``biolm.adapters.cells.weighted_mean`` has them."""
    import anndata

    held = anndata.read_h5ad(path)
    counts = csr_matrix(held.X, dtype=np.float64)
    target = np.array([rows.get(name, -1) for name in held.var["ensembl_id"]])
    known = np.flatnonzero(target >= 0)
    pick = csr_matrix((np.ones(len(known)), (known, target[known])), shape=(held.n_vars, len(factors)))
    shares = (counts @ pick).tocsr()
    shares.data = np.sqrt(shares.data)
    weighted = shares @ diags(factors.astype(np.float64))
    return csr_matrix(diags(1 / np.maximum(np.asarray(weighted.sum(1)).ravel(), 1e-12)) @ weighted)


def moments(cells: csr_matrix, vectors: NDArray[np.float64]) -> Moments:
    """Moments of the cell vectors ``cells @ vectors``."""
    embedded = cells @ vectors
    mean = embedded.mean(0)
    spread = np.asarray(cells.multiply(cells).mean(0)).ravel() - np.asarray(cells.mean(0)).ravel() ** 2
    both = (embedded - mean).T @ (embedded - mean) / len(embedded)
    return Moments(mean, both, vectors.T @ (vectors * spread[:, None]))


def reliable_axes(sets: Sequence[Moments], count: int, ridge: float) -> tuple[NDArray[np.float64], ...]:
    """``(f, d)`` directions by falling reliability, and their reliabilities ``(d,)``.

    Solves (B - W) u = r (B + ridge) u, B the covariance over cells and W the genes' own part, summed over
    data sets of equal say. ``ridge``, in units of the mean variance, keeps out directions that hardly vary.
    """
    between = sum((one.both - one.own) / np.trace(one.own) for one in sets)
    whole = sum(one.both / np.trace(one.own) for one in sets)
    whole = whole + ridge * np.trace(whole) / len(whole) * np.eye(len(whole))
    reliability, directions = eigh(between, whole)
    best = directions[:, ::-1][:, :count]
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    largest = best[np.abs(best).argmax(0), np.arange(count)]
    return best * np.sign(largest), reliability[::-1][:count]


def scaled(sets: Sequence[Moments], axes: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Mean ``(d,)`` and deviation ``(d,)`` of cell vectors along the axes, over the data sets."""
    mean = np.mean([one.mean @ axes for one in sets], axis=0)
    variance = [np.einsum("fd,fg,gd->d", axes, one.both, axes) for one in sets]
    return mean, np.sqrt(np.mean(variance, axis=0))
