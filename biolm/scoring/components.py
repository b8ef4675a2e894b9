"""Leading principal components of a sparse table, in a few products with blocks of vectors.

Dimensions: ``n`` cells · ``m`` genes · ``k`` components · ``b`` vectors of a block · ``r`` of all blocks.

A block Krylov method (Musco and Musco 2015, algorithm 2; Halko et al. 2011, section 4.5): a sparse table is
read as quickly for a block of 60 vectors as for a few one after another, and all blocks together span the
leading components after a handful of products, where Lanczos' method reads the table some hundred times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Leading", "leading_components"]

# Blocks of the basis, and vectors of a block beyond the components.
_BLOCKS = 6
_SPARE = 10


@dataclass(frozen=True, eq=False)
class Leading:
    """Principal components, centred and not scaled.

    Parameters
    ----------
    mean
        ``(m,)`` of the columns.
    axes
        ``(m, k)`` float32 by falling variance; the largest entry of each is positive.
    scores
        ``(n, k)`` float32 of the rows of the table.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def place(self, table: Any) -> NDArray[np.float32]:
        """``(n, k)`` scores of the rows of a sparse table with the same columns."""
        return np.asarray(table @ self.axes - self.mean @ self.axes, np.float32)


def leading_components(table: Any, count: int, seed: int = 0) -> Leading:
    """The ``count`` leading principal components, fewer of a smaller table.

    The variance that they hold is that of the exact ones to about one thousandth. A table whose shorter side
    is not beyond the basis is taken apart exactly.

    Parameters
    ----------
    table
        Sparse float ``(n, m)``.
    count
        ``k`` at most; never as many as the table has rows or columns.
    seed
        Of the vectors that the basis starts with.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> table = sp.csr_matrix(np.array([[1.0, 0], [0, 1], [2, -1]], np.float32))
    >>> leading_components(table, 1).axes.ravel().astype(float).round(3).tolist()
    [0.707, -0.707]
    """
    from scipy.sparse import csr_matrix

    table = csr_matrix(table, dtype=np.float32)
    count = max(1, min(count, min(table.shape) - 1))
    mean = np.asarray(table.mean(0, dtype=np.float64), np.float32).ravel()
    width = count + _SPARE
    if min(table.shape) <= _BLOCKS * width:
        scores, axes = _exact(table.toarray() - mean, count)
    else:
        scores, axes = _krylov(table, mean, count, np.random.default_rng(seed).standard_normal)
    signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(count)])
    signs[signs == 0] = 1
    return Leading(mean, (axes * signs).astype(np.float32), (scores * signs).astype(np.float32))


def _krylov(
    table: Any, mean: NDArray[np.float32], count: int, normal: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    back = table.T.tocsr()
    block = _centred_back(back, mean, normal((table.shape[0], count + _SPARE), np.float32))
    basis = np.zeros((table.shape[1], 0), np.float32)
    placed = []
    for number in range(_BLOCKS):
        # Twice is enough (Giraud et al. 2005): what rounding leaves of the earlier blocks goes as well.
        for _ in range(2):
            block = np.linalg.qr(block - basis @ (basis.T @ block))[0]
        basis = np.hstack([basis, block])
        placed.append(table @ block - mean @ block)
        if number + 1 < _BLOCKS:
            block = _centred_back(back, mean, placed[-1])
    scores, inside = _exact(np.hstack(placed), count)
    return scores, basis @ inside


def _centred_back(back: Any, mean: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(m, b)`` the transposed centred table times ``rows (n, b)``."""
    return np.asarray(back @ rows - np.outer(mean, rows.sum(0)), np.float32)


def _exact(whole: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores and axes of a dense centred table, by the products of its shorter side."""
    wide = whole.shape[1] > whole.shape[0]
    exact = whole.astype(np.float64)
    products = exact @ exact.T if wide else exact.T @ exact
    values, vectors = np.linalg.eigh(products)
    leading = vectors[:, ::-1][:, :count]
    sizes = np.sqrt(np.maximum(values[::-1][:count], 0))
    if not wide:
        return np.asarray(exact @ leading, np.float32), np.asarray(leading, np.float32)
    axes = exact.T @ leading / np.maximum(sizes, 1e-12)
    return np.asarray(leading * sizes, np.float32), np.asarray(axes, np.float32)
