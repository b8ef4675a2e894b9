"""Weighted means and sums of gene vectors in numpy, a row at a time; the compiled kernel explains them.

Dimensions: ``n`` cells · ``g`` gene columns of the file · ``m`` genes of the vocabulary · ``d`` width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_rows", "sum_rows"]


def mean_rows(
    data: NDArray[Any],
    indices: NDArray[np.int32],
    indptr: NDArray[np.int64],
    target: NDArray[np.int32],
    vectors: NDArray[np.float32],
    factors: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the mean of every row's gene vectors into ``out (n, d)``, which holds zeros.

    Parameters
    ----------
    data, indices, indptr, target, vectors, factors, out
        As of :func:`~biolm.adapters.cells.kernels.mean_numba.mean_rows`.
    """
    for row in range(len(out)):
        span = slice(indptr[row], indptr[row + 1])
        columns = indices[span]
        root = np.sqrt(data[span])
        weight = (root * np.sqrt(root)).astype(np.float32) * factors[columns]
        gene = target[columns]
        used = (gene >= 0) & (weight != 0)
        if used.any():
            weight, vector = weight[used, None], vectors[gene[used]]
            total, mean = _in_order(weight), _in_order(weight * vector)
            # Adding 0 turns a sum of nothing but -0 into the 0 that the compiled loop starts from.
            out[row] = (mean + np.float32(0)) / total


def sum_rows(
    data: NDArray[np.float32],
    indices: NDArray[np.int32],
    indptr: NDArray[np.int64],
    target: NDArray[np.int32],
    vectors: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the sum of every row's values times gene vectors into ``out (n, d)``, which holds zeros.

    Parameters
    ----------
    data, indices, indptr, target, vectors, out
        As of :func:`~biolm.adapters.cells.kernels.mean_numba.sum_rows`.
    """
    for row in range(len(out)):
        span = slice(indptr[row], indptr[row + 1])
        gene, values = target[indices[span]], data[span]
        used = (gene >= 0) & (values != 0)
        if used.any():
            out[row] = _in_order(values[used, None] * vectors[gene[used]]) + np.float32(0)


def _in_order(parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(d,)`` the sum of rows, added one after the other as the compiled loop does.

    numpy does so over rows, and adds in pairs along the axis that lies together in memory, which a single
    column does; a running sum is in order everywhere, and six times as slow.
    """
    single = parts.shape[1] == 1
    return np.asarray(np.add.accumulate(parts)[-1] if single else np.add.reduce(parts, axis=0))
