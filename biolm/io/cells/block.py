"""What a reader of cells hands over: a block of rows, and the source it came from.

Dimensions: ``n`` cells of a block · ``g`` genes of the file · ``nnz`` stored values of the block ·
``b`` cells that are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["CellBlock", "CellSource", "gather", "row_spans"]


@dataclass(frozen=True, slots=True)
class CellBlock:
    """Cells of a matrix in compressed sparse row form: consecutive ones, or any (``rows``).

    Rows may hold explicit zeros and unsorted columns, as files do; they hold each column once: a source
    sums what a file stores in parts.

    Parameters
    ----------
    start
        Row number of the first cell in the whole matrix.
    data
        ``(nnz,)`` values, in the file's own number type.
    indices
        ``(nnz,)`` int32 gene columns.
    indptr
        ``(n + 1,)`` int64, from 0.
    n_genes
        ``g``.
    rows
        ``(n,)`` row number of each cell in the whole matrix, where they are not consecutive.
    """

    start: int
    data: NDArray[Any]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    n_genes: int
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def size(self) -> int:
        """``nnz``."""
        return int(self.indptr[-1])

    @property
    def numbers(self) -> NDArray[np.int64]:
        """``(n,)`` row number of each cell in the whole matrix."""
        return np.arange(self.start, self.start + len(self)) if self.rows is None else self.rows

    def part(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop`` of this block; nothing is copied but the row pointers.

        Parameters
        ----------
        start, stop
            Rows of this block.
        """
        low, high = int(self.indptr[start]), int(self.indptr[stop])
        return CellBlock(
            start=self.start + start,
            data=self.data[low:high],
            indices=self.indices[low:high],
            indptr=self.indptr[start : stop + 1] - low,
            n_genes=self.n_genes,
            rows=None if self.rows is None else self.rows[start:stop],
        )

    def take(self, places: NDArray[np.int64]) -> CellBlock:
        """The cells at ``places`` ``(b,)`` of this block, in that order.

        Examples
        --------
        >>> block = CellBlock(8, np.array([5, 6, 7]), np.array([0, 1, 0], np.int32), np.array([0, 2, 3]), 2)
        >>> taken = block.take(np.array([1, 0]))
        >>> taken.numbers.tolist(), taken.data.tolist()
        ([9, 8], [7, 5, 6])
        """
        data, indices, indptr = gather(self.data, self.indices, self.indptr, places)
        return CellBlock(0, data, indices, indptr, self.n_genes, self.numbers[places])


def gather(
    data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Values, columns and pointers of some rows of a compressed sparse matrix, in the order asked.

    Copying a slice for a run of rows is several times faster than an index a value.

    Parameters
    ----------
    data, indices, indptr
        Of the matrix.
    rows
        Numbers of the rows.
    """
    first, last, pointers = row_spans(indptr, rows)
    spans = list(map(slice, first.tolist(), last.tolist()))
    if not spans:
        return data[:0], indices[:0], pointers
    return np.concatenate([data[s] for s in spans]), np.concatenate([indices[s] for s in spans]), pointers


def row_spans(
    indptr: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Where the values of some rows begin and end, neighbours joined; and the pointers of these rows.

    Parameters
    ----------
    indptr
        Row pointers.
    rows
        Numbers of the rows.
    """
    pointers = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(indptr[rows + 1] - indptr[rows], out=pointers[1:])
    if not len(rows):
        return pointers[:0], pointers[:0], pointers
    # Neighbouring rows are one span: a whole block is then copied at once.
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    first, last = rows[np.append(0, cuts)], rows[np.append(cuts, len(rows)) - 1]
    return indptr[first], indptr[last + 1], pointers


class CellSource(Protocol):
    """An open table of cells, read in row blocks. Use as a context manager.

    Attributes
    ----------
    path
        The file or folder; None for an AnnData in memory.
    kind
        ``h5ad``, ``zarr``, ``loom``, ``10x-h5``, ``10x-mtx``, ``table``, ``store`` or ``memory``.
    matrix
        What is read: ``X``, ``layers/NAME`` or ``raw/X``; with a type of features behind it where that is
        not gene expression.
    notes
        What the user should know: what was left out, what was assumed.
    places
        ``(n_cells, 2)`` where each cell lies in its section, x before y, of data whose copy would not have
        them already; None for all others.
    """

    path: Path | None
    kind: str
    matrix: str
    n_cells: int
    n_genes: int
    notes: tuple[str, ...]
    places: NDArray[np.float64] | None

    def blocks(self, rows: int = 8192, start: int = 0, stop: int | None = None) -> Iterator[CellBlock]:
        """Cells ``start`` to ``stop`` in order, at most ``rows`` in memory at a time.

        Parameters
        ----------
        rows
            Most cells of a block.
        start, stop
            First cell, and the one after the last; None for the end.
        """
        ...

    @property
    def random_access(self) -> bool:
        """Whether rows in any order cost the same."""
        ...

    def take(self, rows: NDArray[np.int64]) -> CellBlock:
        """The cells ``rows`` ``(b,)``, in the order asked; the file is read from front to back."""
        ...

    def watch(self, check: Callable[[Any, CellBlock], None] | None) -> None:
        """Have every block looked at on its way out, with the source that reads it; ``check`` may raise."""
        ...

    def unsplit(self) -> CellSource:
        """The same cells with the features of every type, to write them; close only the source itself."""
        ...

    def matrices(self) -> list[str]:
        """Every matrix the file offers, spelled as :attr:`matrix`."""
        ...

    def cell_names(self) -> NDArray[np.str_]:
        """``(n_cells,)`` names as written in the file."""
        ...

    def gene_columns(self) -> dict[str, NDArray[np.str_]]:
        """Text columns that may identify genes, ``(g,)`` each; the var index comes first as ``index``."""
        ...

    def obs_columns(self) -> list[str]:
        """Names of the columns of the cell table (labels, batches), in file order."""
        ...

    def obs_column(self, name: str) -> NDArray[Any]:
        """``(n_cells,)`` one column of the cell table: strings, '' where missing, or numbers, NaN there."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...

    def __enter__(self) -> CellSource: ...

    def __exit__(self, *error: object) -> None: ...
