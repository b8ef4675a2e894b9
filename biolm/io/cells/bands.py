"""Matrices that are not stored by cell, turned into cells through a temporary file.

Dimensions: ``n`` cells of a block · ``e`` stored values of a band.

A matrix stored by gene (CSC, loom) or in no order (mtx) is read once, in bands of about two million values.
Each band is sorted by cell and appended to an unlinked temporary file; a block of cells is then one short
piece of every band. Memory is bounded by a band and a block, disk by the number of stored values.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import OutputError
from biolm.io.cells.block import CellBlock
from biolm.io.cells.rows import Slice, checked_indices, checked_indptr

__all__ = ["BAND_VALUES", "BandedRows", "Triplets", "compressed_by_gene"]

BAND_VALUES = 1 << 21

# Values, cells and genes of a band: (e,) each, in any order.
Triplets = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Band:
    """Where a band lies in the temporary file: pointers ``(n_rows + 1,)``, then values, then genes."""

    offset: int
    first_row: int
    n_rows: int
    size: int
    dtype: np.dtype[Any]

    def pointers(self, file: IO[bytes], start: int, stop: int) -> NDArray[np.int32]:
        """Pointers of the rows ``start`` to ``stop`` of the whole matrix, those that the band covers."""
        low = min(max(start - self.first_row, 0), self.n_rows)
        high = min(max(stop - self.first_row, 0), self.n_rows)
        return _read(file, self.offset + 4 * low, high - low + 1, np.dtype(np.int32))

    def entries(self, file: IO[bytes], first: int, last: int) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Values and genes ``first`` to ``last`` of the band."""
        values = self.offset + 4 * (self.n_rows + 1)
        genes = values + self.dtype.itemsize * self.size
        return (
            _read(file, values + self.dtype.itemsize * first, last - first, self.dtype),
            _read(file, genes + 4 * first, last - first, np.dtype(np.int32)),
        )


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

    def __init__(self, shape: tuple[int, int], bands: Callable[[], Iterator[Triplets]]) -> None:
        self.shape = shape
        self._make = bands
        self._file: IO[bytes] | None = None
        self._bands: list[_Band] = []

    def read(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop``, genes in ascending order."""
        from scipy.sparse import coo_array

        file = self._file or self._sort()
        pieces: list[Triplets] = []
        for band in self._bands:
            if band.first_row >= stop or band.first_row + band.n_rows <= start:
                continue
            pointers = band.pointers(file, start, stop)
            values, genes = band.entries(file, int(pointers[0]), int(pointers[-1]))
            first = max(band.first_row - start, 0)
            cells = np.repeat(np.arange(first, first + len(pointers) - 1, dtype=np.int32), np.diff(pointers))
            pieces.append((values, cells, genes))
        if not pieces:
            pieces = [(np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int32))]
        data, cells, genes = (np.concatenate(column) for column in zip(*pieces, strict=True))
        rows = coo_array((data, (cells, genes)), shape=(stop - start, self.shape[1])).tocsr()
        rows.sort_indices()
        indptr = rows.indptr.astype(np.int64, copy=False)
        return CellBlock(start, rows.data, rows.indices.astype(np.int32, copy=False), indptr, self.shape[1])

    def close(self) -> None:
        """Free the temporary file."""
        if self._file is not None:
            self._file.close()

    def _sort(self) -> IO[bytes]:
        """Write every band, sorted by cell, to the temporary file."""
        file = tempfile.TemporaryFile(prefix="biolm-")  # noqa: SIM115  # open until close()
        try:
            for values, cells, genes in self._make():
                if len(values):
                    self._bands.append(_write_band(file, values, cells, genes, self.shape))
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

    def bands() -> Iterator[Triplets]:
        column = 0
        while column < shape[1]:
            # As many whole columns as fit, at least one.
            fits = int(np.searchsorted(pointers, pointers[column] + BAND_VALUES, side="right")) - 1
            stop = min(max(fits, column + 1), shape[1])
            first, last = int(pointers[column]), int(pointers[stop])
            genes = np.repeat(np.arange(column, stop, dtype=np.int32), np.diff(pointers[column : stop + 1]))
            yield data(first, last), checked_indices(indices(first, last), shape[0], name), genes
            column = stop

    return BandedRows(shape, bands)


def _write_band(
    file: IO[bytes], values: NDArray[Any], cells: NDArray[Any], genes: NDArray[Any], shape: tuple[int, int]
) -> _Band:
    """Sort one band by cell and append it."""
    from scipy.sparse import coo_array

    if values.dtype == np.float16:
        values = values.astype(np.float32)  # scipy knows no half precision
    first = int(cells.min())
    n_rows = int(cells.max()) - first + 1
    rows = coo_array((values, (cells - first, genes)), shape=(n_rows, shape[1])).tocsr()
    band = _Band(file.tell(), first, n_rows, rows.nnz, rows.data.dtype)
    for part in (rows.indptr.astype(np.int32), rows.data, rows.indices.astype(np.int32, copy=False)):
        file.write(part.data)
    return band


def _read(file: IO[bytes], offset: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``count`` items at a place in the file."""
    return np.frombuffer(os.pread(file.fileno(), count * dtype.itemsize, offset), dtype)
