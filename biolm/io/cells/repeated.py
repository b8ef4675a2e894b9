"""Entries that a file stores in parts: several values of one cell and gene, of which the sum is meant.

Dimensions: ``n`` cells of a block · ``nnz`` stored values of the block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock

__all__ = ["each_once", "exact_kind"]


def each_once(block: CellBlock) -> CellBlock:
    """A block in which every cell holds each gene once; values of one cell and gene are summed.

    Sparse formats allow an entry in parts (scipy and R build matrices so), and everything that reads single
    values would take a part for the count. Rows without such entries are not copied.

    Examples
    --------
    >>> block = CellBlock(0, np.array([2, 1, 5]), np.array([3, 0, 3], np.int32), np.array([0, 3]), 4)
    >>> once = each_once(block)
    >>> once.data.tolist(), once.indices.tolist()
    ([1, 7], [0, 3])
    """
    if _ascending(block.indices, block.indptr):
        return block
    from scipy.sparse import csr_array

    rows = csr_array(
        (block.data.astype(exact_kind(block.data)), block.indices.copy(), block.indptr.copy()),
        (len(block), block.n_genes),
    )
    # Some tools write one entry for each read or probe; all others mean the sum too.
    rows.sum_duplicates()
    if rows.nnz == len(block.data):
        return block  # unsorted only
    return CellBlock(
        block.start,
        _as_before(rows.data, block.data.dtype),
        rows.indices.astype(np.int32, copy=False),
        rows.indptr.astype(np.int64),
        block.n_genes,
        block.rows,
    )


def exact_kind(values: NDArray[Any]) -> np.dtype[Any]:
    """The number type in which values are summed: narrow integers would run over."""
    return np.dtype(np.float64 if values.dtype.kind == "f" else np.int64)


def _ascending(indices: NDArray[np.int32], indptr: NDArray[np.int64]) -> bool:
    """Whether the columns of every row rise, so that none repeats."""
    falls = np.count_nonzero(indices[1:] <= indices[:-1])
    if not falls:
        return True
    # A fall between two rows is none within a row.
    between = np.unique(indptr[1:-1])
    between = between[(between > 0) & (between < len(indices))]
    return int(falls) == np.count_nonzero(indices[between] <= indices[between - 1])


def _as_before(sums: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Sums in the file's number type where it holds them, so that blocks of a file are of one type."""
    back = sums.astype(kind.newbyteorder("="))
    if kind.kind == "f" and kind.itemsize >= np.dtype(np.float32).itemsize:
        return back
    return back if np.array_equal(back, sums) else sums
