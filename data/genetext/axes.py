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

MOST_CELLS = 2000  # of one set: more would add time and little else
RAREST = 0.01  # share of cells below which a gene counts as no rarer


@dataclass(frozen=True)
class Moments:
    """Second moments of the cell vectors of one set.

    ``mean (f,)``; ``both (f, f)`` covariance over cells; ``own (f, f)`` the part of it that genes would
    give if they were independent.
    """

    mean: NDArray[np.float64]
    both: NDArray[np.float64]
    own: NDArray[np.float64]


def read_counts(path: Path, rows: dict[str, int], most: int = MOST_CELLS) -> csr_matrix:
    """``(n, m)`` counts of known genes by their Ensembl ids, of at most ``most`` evenly spaced cells."""
    import anndata

    held = anndata.read_h5ad(path)
    step = -(-held.n_obs // most)
    counts = csr_matrix(held.X, dtype=np.float64)[::step]
    target = np.array([rows.get(name, -1) for name in held.var["ensembl_id"]])
    known = np.flatnonzero(target >= 0)
    pick = csr_matrix((np.ones(len(known)), (known, target[known])), shape=(held.n_vars, len(rows)))
    return csr_matrix(counts @ pick)


def rarity(sets: Sequence[csr_matrix], groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """``(m,)`` log of one over the share of cells that express a gene, mean over the sets that hold it.

    ``groups`` are the rows of genes that share a factor: a human gene and its mouse orthologs.
    """
    held, total = np.zeros(sets[0].shape[1]), np.zeros(sets[0].shape[1])
    for counts in sets:
        share = np.asarray((counts > 0).mean(0)).ravel()
        held += share > 0
        total += share
    factors = np.empty(len(groups))
    for place, rows in enumerate(groups):
        share = total[rows].sum() / max(held[rows].sum(), 1)
        factors[place] = -np.log(np.clip(share, RAREST, 1))
    return factors


def weighted(values: csr_matrix, factors: NDArray[np.float64]) -> csr_matrix:
    """Rows times factors, scaled to sum 1."""
    rows = values @ diags(factors)
    return csr_matrix(diags(1 / np.maximum(np.asarray(rows.sum(1)).ravel(), 1e-12)) @ rows)


def moments(cells: csr_matrix, vectors: NDArray[np.float64]) -> Moments:
    """Moments of the cell vectors ``cells @ vectors``."""
    embedded = cells @ vectors
    mean = embedded.mean(0)
    spread = np.asarray(cells.multiply(cells).mean(0)).ravel() - np.asarray(cells.mean(0)).ravel() ** 2
    seen = np.flatnonzero(spread > 0)
    own = vectors[seen] * np.sqrt(spread[seen, None])
    return Moments(mean, (embedded - mean).T @ (embedded - mean) / len(embedded), own.T @ own)


def reliable_axes(
    sets: Sequence[Moments], count: int, ridge: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(f, d)`` directions by falling reliability, and their reliabilities ``(d,)``.

    Solves (B - W) u = r (B + ridge) u, B the covariance over cells and W the genes' own part, summed over
    sets of equal say. ``ridge``, in units of the mean variance, keeps out directions that hardly vary.
    """
    between = sum((one.both - one.own) / np.trace(one.own) for one in sets)
    whole = sum(one.both / np.trace(one.own) for one in sets)
    whole = whole + ridge * np.trace(whole) / len(whole) * np.eye(len(whole))
    reliability, directions = eigh(between, whole)
    best = directions[:, ::-1][:, :count]
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    largest = best[np.abs(best).argmax(0), np.arange(count)]
    return best * np.sign(largest), np.maximum(reliability[::-1][:count], 0)


def spread(sets: Sequence[Moments], axes: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Mean ``(d,)`` and deviation ``(d,)`` of cell vectors along the axes, over sets of equal say."""
    mean = np.mean([one.mean @ axes for one in sets], axis=0)
    variance = np.array([np.einsum("fd,fg,gd->d", axes, one.both, axes, optimize=True) for one in sets])
    sizes = variance.mean(1, keepdims=True)
    return mean, np.sqrt((variance / sizes).mean(0) * sizes.mean())
