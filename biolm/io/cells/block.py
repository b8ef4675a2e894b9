"""What a reader of cells hands over: a block of rows, and the source it came from.

Dimensions: ``n`` cells of a block · ``g`` genes of the file · ``nnz`` stored values of the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["CellBlock", "CellSource"]


@dataclass(frozen=True, slots=True)
class CellBlock:
    """Consecutive cells of a matrix in compressed sparse row form.

    Rows may hold explicit zeros and unsorted columns, as files do; they hold each column once.

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
    """

    start: int
    data: NDArray[Any]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    n_genes: int

    def __len__(self) -> int:
        return len(self.indptr) - 1


class CellSource(Protocol):
    """An open table of cells, read in row blocks. Use as a context manager.

    Attributes
    ----------
    path
        The file or folder; None for an AnnData in memory.
    kind
        ``h5ad``, ``zarr``, ``loom``, ``10x-h5``, ``10x-mtx``, ``table`` or ``memory``.
    matrix
        What is read: ``X``, ``layers/NAME`` or ``raw/X``.
    """

    path: Path | None
    kind: str
    matrix: str
    n_cells: int
    n_genes: int

    def blocks(self, rows: int = 8192, start: int = 0, stop: int | None = None) -> Iterator[CellBlock]:
        """Cells ``start`` to ``stop`` in order, at most ``rows`` in memory at a time."""
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
