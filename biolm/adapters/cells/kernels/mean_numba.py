"""Weighted means and sums of gene vectors, compiled.

Dimensions: ``n`` cells · ``g`` gene columns of the file · ``m`` genes of the vocabulary · ``d`` width.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled

__all__ = ["mean_rows", "sum_rows"]


@compiled
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

    A gene weighs ``factor * count ** 0.75``.

    Parameters
    ----------
    data, indices, indptr
        Canonical rows of counts.
    target
        ``(g,)`` row of a column in ``vectors``, -1 for none.
    vectors
        ``(m, d)`` of the genes.
    factors
        ``(g,)`` weight of a column.
    out
        ``(n, d)`` zeros, written.
    """
    for row in range(len(indptr) - 1):
        mean, weights = out[row], np.float32(0)
        for place in range(indptr[row], indptr[row + 1]):
            column = indices[place]
            gene = target[column]
            root = sqrt(data[place])
            weight = np.float32(root * sqrt(root)) * factors[column]
            if gene < 0 or weight == 0:
                continue
            weights += weight
            # A view and an unsigned row leave the inner loop free of index arithmetic: a fifth faster.
            vector = vectors[np.uint32(gene)]
            for axis in range(len(mean)):
                mean[axis] += weight * vector[axis]
        if weights > 0:
            for axis in range(len(mean)):
                mean[axis] /= weights


@compiled
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
    data, indices, indptr
        Canonical rows of values.
    target
        ``(g,)`` row of a column in ``vectors``, -1 for none.
    vectors
        ``(m, d)`` of the genes.
    out
        ``(n, d)`` zeros, written.
    """
    for row in range(len(indptr) - 1):
        total = out[row]
        for place in range(indptr[row], indptr[row + 1]):
            gene, value = target[indices[place]], data[place]
            if gene < 0 or value == 0:
                continue
            vector = vectors[np.uint32(gene)]
            for axis in range(len(total)):
                total[axis] += value * vector[axis]
