"""Weighted means of gene vectors in numpy; equal to the compiled kernel up to rounding.

Dimensions: ``n`` cells · ``g`` gene columns of the file · ``m`` genes of the vocabulary · ``d`` width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_rows"]


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

    ``target (g,)`` row of a column in ``vectors (m, d)``, -1 for none; ``factors (g,)``. A gene weighs
    ``factor * count ** 0.75``.
    """
    from scipy.sparse import csr_matrix

    genes = target[indices]
    # A column without a gene keeps its place in the row and weighs nothing.
    root = np.sqrt(data)
    powers = (root * np.sqrt(root)).astype(np.float32)
    weights = np.where(genes < 0, 0, powers * factors[indices])
    rows = csr_matrix((weights, np.maximum(genes, 0), indptr), shape=(len(out), len(vectors)))
    total = rows @ np.ones((len(vectors), 1), np.float32)
    np.divide(rows @ vectors, total, out=out, where=total > 0)
