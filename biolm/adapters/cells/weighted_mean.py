"""Cells as weighted means of their genes' vectors.

Dimensions: ``n`` cells of a block · ``m`` genes of the vocabulary · ``d`` width of a vector.

A gene weighs its counts to the power 3/4, times a factor of the gene that depends on no data set. The power,
found by trial, lies between counts and their variance-steadying root; the mean takes away the sequencing
depth. So a cell's vector depends on nothing but that cell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels import kernel
from biolm.adapters.cells.rows import by_column, prepare
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

__all__ = ["weighted_mean"]


def weighted_mean(
    block: CellBlock, match: GeneMatch, vectors: NDArray[np.float32], factors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mean of gene vectors, weighted by counts to the power 3/4.

    Parameters
    ----------
    block
        Counts of ``n`` cells.
    match
        Where the file's genes lie in the vocabulary; counts of columns that share a gene are summed first.
    vectors
        ``(m, d)`` one vector a gene, C-contiguous.
    factors
        ``(m,)`` what a gene's weight is multiplied with; not negative.

    Returns
    -------
    ``(n, d)``. Cells without counts in known genes get zeros.

    Raises
    ------
    InputError
        If a value is negative, infinite or not a number, or the match belongs to another file.
    """
    rows = prepare(block, match)
    out = np.zeros((len(block), vectors.shape[1]), np.float32)
    own = by_column(match, factors, 0)
    mean_rows = kernel("mean_rows", len(rows.data))
    mean_rows(rows.data, rows.indices, rows.indptr, match.target, vectors, own, out)
    return out
