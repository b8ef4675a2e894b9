"""Matrices stored row by row, compressed or dense, as row blocks.

Dimensions: ``n`` cells of a block · ``g`` genes · ``nnz`` stored values of the block.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.block import CellBlock, row_spans
from biolm.io.cells.mapped import FileArray

__all__ = [
    "CsrRows",
    "DenseRows",
    "Slice",
    "checked_indices",
    "checked_indptr",
    "compress",
    "lost_chunks",
    "stored_values",
]

# Reads entries a to b of a one-dimensional array, or rows a to b of a matrix.
Slice = Callable[[int, int], NDArray[Any]]

SLAB_BYTES = 1 << 25


class CsrRows:
    """Compressed sparse rows behind two slice readers.

    Parameters
    ----------
    shape
        Cells, genes.
    indptr
        ``(cells + 1,)`` row pointers, in memory: 8 bytes a cell.
    data, indices
        Read a span of the stored values and of their columns.
    length
        How many values the file stores.
    name
        Names the file in errors.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        indptr: NDArray[Any],
        data: Slice,
        indices: Slice,
        *,
        length: int,
        name: object,
    ) -> None:
        self.shape = shape
        self._indptr = checked_indptr(indptr, shape[0], length, name)
        self._data, self._indices, self._name = data, indices, name

    def read(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop``."""
        indptr = self._indptr[start : stop + 1]
        first, last = int(indptr[0]), int(indptr[-1])
        indices = checked_indices(self._indices(first, last), self.shape[1], self._name)
        return CellBlock(start, self._data(first, last), indices, indptr - first, self.shape[1])

    def pointers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Row pointers ``(n + 1,)`` of some cells, from 0.

        Parameters
        ----------
        start, stop
            First cell, and the one after the last.
        """
        pointers: NDArray[np.int64] = self._indptr[start : stop + 1] - self._indptr[start]
        return pointers

    @property
    def random_access(self) -> bool:
        """Whether rows in any order cost the same: the arrays lie in the file as numpy holds them."""
        # Compressed chunks would be unpacked again for every row.
        return isinstance(self._data, FileArray) and isinstance(self._indices, FileArray)

    def take(self, rows: NDArray[np.int64]) -> CellBlock:
        """The cells ``rows`` in the order asked, copied out of a map; for arrays with random access."""
        data, indices = self._data, self._indices
        assert isinstance(data, FileArray) and isinstance(indices, FileArray)  # noqa: PT018  # one condition
        first, last, indptr = row_spans(self._indptr, rows)
        columns = checked_indices(indices.copy(first, last, np.int32), self.shape[1], self._name)
        return CellBlock(0, data.copy(first, last), columns, indptr, self.shape[1], rows)

    def close(self) -> None:
        """Nothing to free: the file belongs to the source."""


class DenseRows:
    """A dense matrix of cells x genes behind a slice reader.

    Rows are read in slabs of about 32 MB, so that a block costs what its non-zero values cost.

    Parameters
    ----------
    shape
        Cells, genes.
    read_rows
        Reads ``(n, g)`` rows.
    slab
        Read this many rows or a multiple of it at once: the height of a chunk of the file.
    """

    def __init__(self, shape: tuple[int, int], read_rows: Slice, *, itemsize: int = 4, slab: int = 1) -> None:
        self.shape = shape
        self._read_rows = read_rows
        self._slab = slab * max(1, SLAB_BYTES // max(1, shape[1] * itemsize * slab))

    def read(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop``."""
        # Cut at multiples of the slab, so that a chunk of the file is not decoded twice within a block.
        cuts = [start, *range((start // self._slab + 1) * self._slab, stop, self._slab), stop]
        parts = [compress(self._read_rows(a, b)) for a, b in pairwise(cuts)]
        counts = np.concatenate([part[2] for part in parts])
        return CellBlock(
            start,
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([[0], np.cumsum(counts)]),
            self.shape[1],
        )

    def close(self) -> None:
        """Nothing to free: the file belongs to the source."""


def compress(dense: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64]]:
    """Values ``(nnz,)``, their columns and the number in each row ``(n,)`` of dense rows ``(n, g)``."""
    dense = np.ascontiguousarray(dense)
    mask = dense != 0
    counts = np.count_nonzero(mask, axis=1)
    # Places in the flat mask are found several times faster than rows and columns.
    flat = np.flatnonzero(mask)
    values = dense.reshape(-1)[flat]
    flat -= np.repeat(np.arange(len(dense)) * dense.shape[1], counts)
    return values, flat.astype(np.int32), counts


def stored_values(data: Any, indices: Any, n_minor: int, name: object) -> int:
    """How many values a compressed sparse matrix stores, after a look at its two arrays.

    Parameters
    ----------
    data, indices
        The arrays of an HDF5 file or zarr store; nothing is decoded.
    n_minor
        How many different indices there are.
    name
        Names the file in errors.

    Raises
    ------
    InputError
        If they are not of one length, hold other kinds of numbers than a matrix, or lack pieces, which the
        libraries would read as zeros: values would vanish, or all move to the first gene.
    """
    if data.shape != indices.shape or len(data.shape) != 1:
        raise InputError(
            f"{name} is damaged: its sparse matrix has {data.shape} values at {indices.shape} places; "
            "write the file again from its source"
        )
    if data.dtype.kind not in "biuf" or indices.dtype.kind not in "iu":
        raise InputError(
            f"{name} holds a sparse matrix of {data.dtype} at places of {indices.dtype}; "
            "write it again with real numbers at whole places"
        )
    # A missing piece reads as zeros; a matrix of one column may lack its indices, which are all 0.
    for array, needed in ((data, True), (indices, n_minor > 1)):
        if needed and (lost := lost_chunks(array)):
            raise InputError(
                f"{name} is damaged: {lost} of the pieces of {array.name} are missing; copy it again whole"
            )
    return int(data.shape[0])


def lost_chunks(array: Any) -> int:
    """How many pieces of an HDF5 or zarr array are not stored, and would be read as zeros."""
    if not array.size or not getattr(array, "chunks", None):
        return 0
    count = 1
    for length, step in zip(array.shape, array.chunks, strict=True):
        count *= -(-length // step)
    stored = array.nchunks_initialized if hasattr(array, "nchunks_initialized") else array.id.get_num_chunks()
    return max(count - int(stored), 0)


def checked_indptr(indptr: NDArray[Any], n_rows: int, length: int, name: object) -> NDArray[np.int64]:
    """Row pointers as int64.

    Parameters
    ----------
    indptr
        As the file holds them.
    n_rows
        Rows of the matrix.
    length
        Stored values.
    name
        Of the matrix, for messages.

    Raises
    ------
    InputError
        If they do not rise from 0 to the number of stored values.
    """
    if indptr.dtype.kind not in "iu" or indptr.ndim != 1:
        raise InputError(f"{name} is damaged: its sparse matrix has row pointers that are no whole numbers")
    pointers = np.ascontiguousarray(indptr, dtype=np.int64)
    # Damaged pointers would read other cells' counts without any error.
    sound = len(pointers) == n_rows + 1 and pointers[0] == 0 and pointers[-1] == length
    if not sound or (np.diff(pointers) < 0).any():
        raise InputError(
            f"{name} is damaged: its sparse matrix has row pointers that do not match its values; "
            "write the file again from its source"
        )
    return pointers


def checked_indices(indices: NDArray[Any], n_columns: int, name: object) -> NDArray[np.int32]:
    """Column indices as int32.

    Parameters
    ----------
    indices
        As the file holds them.
    n_columns
        Columns of the matrix.
    name
        Of the matrix, for messages.

    Raises
    ------
    InputError
        If one lies outside the matrix.
    """
    # Read as unsigned, a negative index is huge: one pass finds both kinds of damage.
    if len(indices) and indices.view(indices.dtype.str.replace("i", "u")).max() >= n_columns:
        raise InputError(
            f"{name} is damaged: its sparse matrix has a column outside its {n_columns} genes; "
            "write the file again from its source"
        )
    return indices.astype(np.int32, copy=False)
