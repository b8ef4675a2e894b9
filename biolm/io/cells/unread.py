"""Blocks whose values are read when a part of them is asked for: tokenizers take a thousand cells at a time.

Dimensions: ``n`` cells of a block · ``nnz`` stored values of the block · ``g`` genes of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.block import CellBlock, CellSource
from biolm.io.cells.rows import CsrRows
from biolm.io.cells.source import OpenCells

__all__ = ["UnreadBlock", "unread_blocks"]


class UnreadBlock(CellBlock):
    """Consecutive cells of a source; only their row pointers are in memory.

    A part is read into memory that the part before it has just freed, which is in the cache: reading a whole
    block into fresh memory costs several times as much. All values are read, and kept, where somebody asks
    for :attr:`data` or :attr:`indices`.

    Parameters
    ----------
    read
        Reads the cells from the first number to the second, not included.
    start
        First cell.
    indptr
        ``(n + 1,)`` row pointers as the file has them, from 0. A part may hold fewer values, where the file
        stores values in pieces.
    n_genes
        ``g``.
    """

    __slots__ = ("_read", "_whole")
    _read: Callable[[int, int], CellBlock]
    _whole: CellBlock | None

    def __init__(
        self, read: Callable[[int, int], CellBlock], start: int, indptr: NDArray[np.int64], n_genes: int
    ) -> None:
        facts = {"_read": read, "_whole": None, "start": start, "indptr": indptr, "n_genes": n_genes}
        for name, value in {**facts, "rows": None}.items():
            object.__setattr__(self, name, value)

    @property
    def whole(self) -> CellBlock:
        """The block with its values, read once."""
        if self._whole is None:
            object.__setattr__(self, "_whole", self._read(self.start, self.start + len(self)))
        assert self._whole is not None
        return self._whole

    @property
    def data(self) -> NDArray[Any]:
        """``(nnz,)`` values."""
        return self.whole.data

    @property
    def indices(self) -> NDArray[np.int32]:
        """``(nnz,)`` gene columns."""
        return self.whole.indices

    def part(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop`` of this block, read now.

        Parameters
        ----------
        start, stop
            Rows of this block.

        Raises
        ------
        InputError
            If any cell of the block cannot be used: what is wrong is said of all of them.
        """
        if self._whole is not None:
            return self._whole.part(start, stop)
        try:
            return self._read(self.start + start, self.start + stop)
        except InputError:
            self._read(self.start, self.start + len(self))
            raise


def unread_blocks(source: CellSource, rows: int, start: int, stop: int) -> Iterator[CellBlock]:
    """As :meth:`CellSource.blocks`, read later where a part costs no more than its fraction of the block.

    Parameters
    ----------
    source
        The open cells.
    rows
        Most cells of a block.
    start, stop
        First cell, and the one after the last.
    """
    if not isinstance(source, OpenCells) or not isinstance(source.rows, CsrRows) or not source.random_access:
        yield from source.blocks(rows, start, stop)
        return
    for first in range(start, stop, rows):
        indptr = source.rows.pointers(first, min(first + rows, stop))
        yield UnreadBlock(partial(_read, source), first, indptr, source.n_genes)


def _read(source: OpenCells, start: int, stop: int) -> CellBlock:
    return next(source.blocks(stop - start, start, stop))
