"""Matrices that are not stored by cell, turned into cells through a temporary file.

Dimensions: ``n`` cells of a block · ``e`` stored values of a band.

A matrix stored by gene (CSC, loom) or in no order (mtx) is read once, in bands of about two million values.
Each band is sorted by cell and appended to an unlinked temporary file; a block of cells is then one short
piece of every band. Memory is bounded by a band and a block, disk by the number of stored values.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.errors import OutputError
from biolm.io.cells.block import CellBlock
from biolm.io.cells.repeated import each_once
from biolm.io.cells.rows import Slice, checked_indices, checked_indptr

__all__ = ["BAND_VALUES", "Band", "BandedRows", "compressed_by_gene", "sorted_by_cell"]

BAND_VALUES = 1 << 21

# Cells that are put together at once: their values then stay in the processor's cache.
JOINED_ROWS = 512

# The first cell that a band touches, and its values as a scipy CSR array of (cells from there, all genes).
Band = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where a band lies in the temporary file: pointers ``(n_rows + 1,)``, then values, then genes."""

    offset: int
    first_row: int
    n_rows: int
    size: int
    dtype: np.dtype[Any]

    def piece(self, file: IO[bytes], start: int, stop: int) -> _Piece:
        """The values of the rows ``start`` to ``stop`` of the whole matrix."""
        low = min(max(start - self.first_row, 0), self.n_rows)
        high = min(max(stop - self.first_row, 0), self.n_rows)
        pointers = _read(file, self.offset + 4 * low, high - low + 1, np.dtype(np.int32))
        first, count = int(pointers[0]), int(pointers[-1] - pointers[0])
        values = self.offset + 4 * (self.n_rows + 1)
        genes = values + self.dtype.itemsize * self.size
        return _Piece(
            max(self.first_row - start, 0),
            pointers - pointers[0],
            _read(file, values + self.dtype.itemsize * first, count, self.dtype),
            _read(file, genes + 4 * first, count, np.dtype(np.int32)),
        )


class _Piece(NamedTuple):
    """What a band holds of a block: ``first`` is the block's row at which it begins."""

    first: int
    pointers: NDArray[np.int32]
    values: NDArray[Any]
    genes: NDArray[np.int32]


class BandedRows:
    """Cells of a matrix that is stored in another order.

    Parameters
    ----------
    shape
        Cells, genes.
    bands
        Gives the stored values in bands, each value once; called at the first read. Values that share
        cell and gene are summed.
    """

    def __init__(self, shape: tuple[int, int], bands: Callable[[], Iterator[Band]]) -> None:
        self.shape = shape
        self._make = bands
        self._file: IO[bytes] | None = None
        self._bands: list[_Stored] = []

    def read(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop``, genes in ascending order."""
        file = self._file or self._sort()
        near = [
            band for band in self._bands if band.first_row < stop and band.first_row + band.n_rows > start
        ]
        pieces = [band.piece(file, start, stop) for band in near]
        size = sum(len(piece.values) for piece in pieces)
        data = np.empty(
            size, np.result_type(*(piece.values.dtype for piece in pieces)) if pieces else np.float32
        )
        indices, indptr = np.empty(size, np.int32), np.zeros(stop - start + 1, np.int64)
        for low in range(0, stop - start, JOINED_ROWS):
            high = min(low + JOINED_ROWS, stop - start)
            rows = _join(pieces, low, high, self.shape[1])
            first, last = int(indptr[low]), int(indptr[low]) + rows.nnz
            data[first:last], indices[first:last] = rows.data, rows.indices
            indptr[low + 1 : high + 1] = rows.indptr[1:] + indptr[low]
        # Values that shared cell and gene were summed, so that fewer may remain.
        return CellBlock(start, data[: indptr[-1]], indices[: indptr[-1]], indptr, self.shape[1])

    def close(self) -> None:
        """Free the temporary file."""
        if self._file is not None:
            self._file.close()

    def _sort(self) -> IO[bytes]:
        """Write every band, sorted by cell, to the temporary file."""
        # Nameless: it goes with the process, also when that is killed.
        file = tempfile.TemporaryFile(prefix="biolm-")  # noqa: SIM115  # open until close()
        try:
            for first_row, rows in self._make():
                # An empty band would still be looked at for every block.
                if rows.nnz:
                    self._bands.append(_write_band(file, first_row, rows))
            file.flush()
        except OSError as error:
            file.close()
            if error.errno == errno.ENOSPC:
                raise OutputError(
                    f"no space left in {tempfile.gettempdir()} to sort a matrix that is not stored by cell; "
                    "set TMPDIR to a folder with more room"
                ) from error
            raise
        except BaseException:
            file.close()
            raise
        self._file = file
        return file


def compressed_by_gene(
    shape: tuple[int, int], indptr: NDArray[Any], data: Slice, indices: Slice, *, length: int, name: object
) -> BandedRows:
    """Cells of a compressed sparse column matrix (cells x genes).

    Parameters
    ----------
    indptr
        ``(genes + 1,)`` column pointers.
    data, indices
        Read a span of the stored values and of their cells.
    length, name
        As in :class:`~biolm.io.cells.rows.CsrRows`.

    Raises
    ------
    InputError
        If the pointers are damaged; at the first read, if a cell number is.
    """
    pointers = checked_indptr(indptr, shape[1], length, name)

    def bands() -> Iterator[Band]:
        column = 0
        while column < shape[1]:
            # As many whole columns as fit, at least one.
            fits = int(np.searchsorted(pointers, pointers[column] + BAND_VALUES, side="right")) - 1
            stop = min(max(fits, column + 1), shape[1])
            first, last = int(pointers[column]), int(pointers[stop])
            cells = checked_indices(indices(first, last), shape[0], name)
            spans = pointers[column : stop + 1] - first
            genes = each_once(CellBlock(column, data(first, last), cells, spans, shape[0]))
            yield 0, sorted_by_cell(genes.data, genes.indices, genes.indptr, column, shape)
            column = stop

    return BandedRows(shape, bands)


def sorted_by_cell(
    values: NDArray[Any], cells: NDArray[Any], spans: NDArray[Any], first_gene: int, shape: tuple[int, int]
) -> Any:
    """Values of consecutive genes as a scipy CSR array of all cells x all genes.

    Parameters
    ----------
    values, cells
        ``(e,)`` values and their cells, gene after gene.
    spans
        Where each gene begins and the last one ends, from 0.
    first_gene
        Number of the first of these genes.
    shape
        Cells, genes of the whole matrix.
    """
    from scipy.sparse import csc_array

    # scipy computes in native byte order, and in no half precision.
    exact = np.float32 if values.dtype == np.float16 else values.dtype.newbyteorder("=")
    part = (values.astype(exact, copy=False), cells, spans.astype(np.int32))
    rows = csc_array(part, (shape[0], len(spans) - 1)).tocsr()
    rows.indices += np.int32(first_gene)
    rows.resize(shape)
    return rows


def _write_band(file: IO[bytes], first_row: int, rows: Any) -> _Stored:
    """Append a band to the file."""
    stored = _Stored(file.tell(), first_row, rows.shape[0], rows.nnz, rows.data.dtype)
    for part in (rows.indptr.astype(np.int32), rows.data, rows.indices.astype(np.int32, copy=False)):
        file.write(part.data)
    return stored


def _join(pieces: list[_Piece], low: int, high: int, n_genes: int) -> Any:
    """Rows ``low`` to ``high`` of a block from all its pieces, as a scipy CSR array."""
    from scipy.sparse import coo_array

    columns: list[tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32]]] = []
    for first, pointers, values, genes in pieces:
        start, stop = (min(max(row - first, 0), len(pointers) - 1) for row in (low, high))
        span = slice(pointers[start], pointers[stop])
        cells = np.arange(first + start - low, first + stop - low, dtype=np.int32)
        columns.append((values[span], np.repeat(cells, np.diff(pointers[start : stop + 1])), genes[span]))
    if not columns:
        return coo_array((high - low, n_genes), dtype=np.float32).tocsr()
    data, row, column = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    rows = coo_array((data, (row, column)), shape=(high - low, n_genes)).tocsr()
    rows.sort_indices()
    return rows


def _read(file: IO[bytes], offset: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``count`` items at a place in the file."""
    file.seek(offset)
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
