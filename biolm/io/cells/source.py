"""The one implementation of an open table of cells; formats only fill in its parts.

Dimensions: ``n`` cells of a block · ``g`` genes of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.cells.block import CellBlock
from biolm.io.cells.repeated import each_once
from biolm.io.cells.rows import CsrRows
from biolm.io.damage import naming_damage

__all__ = ["TRANSPOSED", "OpenCells", "Rows", "Table", "duplicated_names", "resolve_matrix"]

# Behind the spelling of a matrix that is read from a table of genes x cells.
TRANSPOSED = " (transposed)"

# Rows that nobody asked for are read along rather than starting a new read.
GAP = 16

# Looks at a block of a source and raises if it must not be used.
Check = Callable[["OpenCells", CellBlock], None]


class Rows(Protocol):
    """A matrix of cells that can hand over any range of its rows."""

    shape: tuple[int, int]

    def read(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop``; fastest when called in order.

        Parameters
        ----------
        start, stop
            First row, and the one after the last.
        """
        ...

    def close(self) -> None:
        """Free what reading needed."""
        ...


@dataclass(frozen=True, slots=True)
class Table:
    """The obs or var table of a file; columns are read when asked for.

    Parameters
    ----------
    index
        Reads the row names.
    columns
        Readers of the named columns, in file order.
    """

    index: Callable[[], NDArray[np.str_]]
    columns: Mapping[str, Callable[[], NDArray[Any]]] = field(default_factory=dict)


@dataclass(slots=True)
class OpenCells:
    """An open table of cells; see :class:`~biolm.io.cells.block.CellSource`.

    Parameters
    ----------
    path, kind, matrix
        As in the protocol.
    rows
        The matrix.
    obs, var
        Tables of the cells and of the genes of this matrix.
    offered
        Every matrix of the file.
    on_close
        Called once, by :meth:`close`.
    notes
        What the user should know: what was left out, what was assumed.
    every_feature
        Matrix and table of genes before features of other types were left out.
    places
        As in the protocol.
    """

    path: Path | None
    kind: str
    matrix: str
    rows: Rows
    obs: Table
    var: Table
    offered: Sequence[str]
    on_close: Callable[[], None]
    notes: tuple[str, ...] = ()
    every_feature: tuple[Rows, Table] | None = field(default=None, repr=False)
    places: NDArray[np.float64] | None = field(default=None, repr=False)
    _check: Check | None = field(init=False, default=None, repr=False)
    n_cells: int = field(init=False)
    n_genes: int = field(init=False)
    _names: NDArray[np.str_] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self.n_cells, self.n_genes = self.rows.shape
        if self.n_cells == 0 or self.n_genes == 0:
            self.close()
            raise InputError(
                f"{self.path or 'the AnnData'} is empty: {self.matrix} holds {self.n_cells} cells "
                f"and {self.n_genes} genes"
            )

    def blocks(self, rows: int = 8192, start: int = 0, stop: int | None = None) -> Iterator[CellBlock]:
        """Cells ``start`` to ``stop`` in order, at most ``rows`` in memory at a time."""
        if rows < 1:
            raise ConfigError(f"a block must hold at least 1 row, not {rows}")
        end = self.n_cells if stop is None else min(stop, self.n_cells)
        for first in range(max(start, 0), end, rows):
            last = min(first + rows, end)
            with self._damage_named(f"cells {first} to {last}"):
                block = each_once(self.rows.read(first, last))
            yield self._checked(block)
            del block  # else it would still be held while the next one is read

    @property
    def random_access(self) -> bool:
        """Whether rows in any order cost the same."""
        return isinstance(self.rows, CsrRows) and self.rows.random_access

    def take(self, rows: NDArray[np.int64]) -> CellBlock:
        """The cells ``rows`` ``(b,)``, in the order asked; the file is read from front to back.

        Neighbours are read together, so shuffled runs of rows cost little more than rows in order.

        Raises
        ------
        ConfigError
            If a row lies outside the table.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.n_cells:
            raise ConfigError(f"rows must lie from 0 to {self.n_cells - 1}")
        with self._damage_named("some cells"):
            if isinstance(self.rows, CsrRows) and self.rows.random_access:
                block = each_once(self.rows.take(rows))
                return self._checked(block)
            # From front to back, each row once, whatever order and repeats were asked for.
            ordered = np.unique(rows)
            runs = np.split(ordered, np.flatnonzero(np.diff(ordered) > GAP) + 1) if len(rows) else []
            parts = [self.rows.read(int(run[0]), int(run[-1]) + 1) for run in runs]
        return self._checked(each_once(_picked(parts, rows, self.n_genes)))

    def _checked(self, block: CellBlock) -> CellBlock:
        """A block, looked at by the check on its way out."""
        if self._check is not None:
            self._check(self, block)
        return block

    def watch(self, check: Check | None) -> None:
        """Have every block looked at on its way out; ``check`` raises if it must not be used."""
        self._check = check

    def unsplit(self) -> OpenCells:
        """The same cells with the features of every type, to write them; close only this source."""
        if self.every_feature is None:
            return self
        rows, var = self.every_feature
        return OpenCells(
            path=self.path,
            kind=self.kind,
            matrix="X",
            rows=rows,
            obs=self.obs,
            var=var,
            offered=["X"],
            on_close=lambda: None,
        )

    @contextmanager
    def _damage_named(self, what: str) -> Iterator[None]:
        """Make one sentence of what a library says about content that it cannot decode."""
        if self.path is None:  # in memory: there is no file to blame
            yield
            return
        with naming_damage(self.path, what):
            yield

    def matrices(self) -> list[str]:
        """Every matrix the file offers, spelled as :attr:`matrix`."""
        return list(self.offered)

    def cell_names(self) -> NDArray[np.str_]:
        """``(n_cells,)`` names as written in the file."""
        if self._names is None:  # kept, as checks and writers both ask for them
            with self._damage_named("cell names"):
                self._names = self._fitting(self.obs.index(), self.n_cells, "cells")
        return self._names

    def gene_columns(self) -> dict[str, NDArray[np.str_]]:
        """Text columns that may identify genes, ``(g,)`` each; the var index comes first as ``index``."""
        with self._damage_named("gene names"):
            columns = {"index": self._fitting(self.var.index(), self.n_genes, "genes")}
            for name, read in self.var.columns.items():
                values = read()
                if values.dtype.kind == "U" and name not in columns:
                    columns[name] = values
        return columns

    def _fitting(self, names: NDArray[np.str_], size: int, what: str) -> NDArray[np.str_]:
        """Names, if there is one for each row or column of the matrix."""
        if len(names) != size:
            raise InputError(
                f"{self.path or 'the AnnData'} is inconsistent: {self.matrix} has {size} {what}, "
                f"but its table names {len(names)}; write it again from its source"
            )
        return names

    def obs_columns(self) -> list[str]:
        """Names of the columns of the cell table, in file order."""
        return list(self.obs.columns)

    def obs_column(self, name: str) -> NDArray[Any]:
        """``(n_cells,)`` one column of the cell table.

        Text and categories come as strings, '' where missing; numbers and booleans as they are; where any is
        missing, numbers as floats with NaN and booleans as text. :func:`label_text` spells labels.

        Raises
        ------
        InputError
            If there is no such column.
        """
        if name not in self.obs.columns:
            known = ", ".join(self.obs.columns) or "none"
            raise InputError(f"{self.path or 'the AnnData'} has no obs column {name!r}; its columns: {known}")
        with self._damage_named(f"the obs column {name!r}"):
            return self._as_long(self.obs.columns[name](), name)

    def _as_long(self, values: NDArray[Any], name: str) -> NDArray[Any]:
        if values.shape != (self.n_cells,):
            raise InputError(
                f"{self.path or 'the AnnData'} is inconsistent: its obs column {name!r} holds no value "
                f"for each of {self.n_cells} cells; write it again from its source"
            )
        return values

    def close(self) -> None:
        """Close the file."""
        self.rows.close()
        self.on_close()

    def __enter__(self) -> OpenCells:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _picked(parts: list[CellBlock], rows: NDArray[np.int64], n_genes: int) -> CellBlock:
    """The cells ``rows`` in that order, out of blocks that hold them."""
    # The common case, whole runs in order, is joined without a loop over cells.
    if parts and np.array_equal(rows, np.concatenate([part.numbers for part in parts])):
        lengths = np.concatenate([np.diff(part.indptr) for part in parts])
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        data = np.concatenate([part.data for part in parts])
        return CellBlock(0, data, np.concatenate([part.indices for part in parts]), indptr, n_genes, rows)
    return _gathered(parts, rows, n_genes)


def _gathered(parts: list[CellBlock], rows: NDArray[np.int64], n_genes: int) -> CellBlock:
    """The cells ``rows`` one by one."""
    starts = np.array([part.start for part in parts], np.int64)
    owner = np.searchsorted(starts, rows, side="right") - 1
    place = rows - starts[owner] if len(parts) else rows
    indptr = np.zeros(len(rows) + 1, np.int64)
    data, indices = [], []
    firsts = [part.indptr.tolist() for part in parts]
    for number, (which, at) in enumerate(zip(owner.tolist(), place.tolist(), strict=True)):
        low, high = firsts[which][at], firsts[which][at + 1]
        data.append(parts[which].data[low:high])
        indices.append(parts[which].indices[low:high])
        indptr[number + 1] = high - low
    np.cumsum(indptr, out=indptr)
    if not data:
        return CellBlock(0, np.empty(0, np.float32), np.empty(0, np.int32), indptr, n_genes, rows)
    return CellBlock(0, np.concatenate(data), np.concatenate(indices), indptr, n_genes, rows)


def resolve_matrix(asked: str, offered: Sequence[str], name: object) -> str:
    """The full spelling of a matrix among those that a file offers.

    ``raw`` stands for ``raw/X``, and layers and types of features may be named alone.

    Parameters
    ----------
    asked
        What the user typed.
    offered
        Matrices of the file.
    name
        Of the file, for messages.

    Raises
    ------
    InputError
        If the file has no such matrix; lists what it has.
    """
    for spelling in ("raw/X" if asked == "raw" else asked, f"layers/{asked}", f"X/{asked}"):
        if spelling in offered:
            return spelling
    known = ", ".join(offered) or "none"
    raise InputError(f"{name} has no matrix {asked!r}; it holds: {known}")


def duplicated_names(names: NDArray[np.str_]) -> int:
    """How many names repeat an earlier one; 0 when all are distinct.

    Examples
    --------
    >>> duplicated_names(np.array(["a", "b", "a", "a"]))
    2
    """
    return len(names) - len(set(names.tolist()))
