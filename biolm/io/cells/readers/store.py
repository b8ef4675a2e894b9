"""Stores of ``biolm pack``: counts in flat arrays behind a memory map, names and labels in Parquet."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.frame import as_plain, categorical
from biolm.io.cells.mapped import FileArray
from biolm.io.cells.rows import CsrRows
from biolm.io.cells.source import OpenCells, Table, resolve_matrix
from biolm.io.store import read_facts, read_offsets, store_kind

__all__ = ["KIND", "open_file", "recognises"]

KIND = "biolm-cells"


def recognises(path: Path) -> bool:
    """Whether the folder is a store of cells."""
    return path.is_dir() and store_kind(path) == KIND


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open a store.

    Parameters
    ----------
    path
        Of the store.
    matrix
        Which is read.

    Raises
    ------
    InputError
        If it is not whole, or has no such matrix.
    """
    import pyarrow.parquet as pq

    metadata = read_facts(path)
    chosen = resolve_matrix(matrix, ["X"], path)
    tables = {name: pq.ParquetFile(path / f"{name}.parquet") for name in ("cells", "genes")}
    shape = (int(metadata["rows"]), int(tables["genes"].metadata.num_rows))
    handles = {name: os.open(path / f"{name}.bin", os.O_RDONLY) for name in ("counts", "columns")}
    start = np.zeros(1, np.int64)
    arrays = {
        name: FileArray(
            handle,
            np.dtype(metadata["columns"][name]),
            int(metadata["values"]),
            start,
            start,
            path / f"{name}.bin",
        )
        for name, handle in handles.items()
    }

    def close() -> None:
        for handle in handles.values():
            os.close(handle)
        for file in tables.values():
            file.close()

    obs, var = (_table(file) for file in tables.values())
    return OpenCells(
        path=path,
        kind="store",
        matrix=chosen,
        rows=CsrRows(
            shape,
            read_offsets(path, shape[0], int(metadata["values"])),
            arrays["counts"],
            arrays["columns"],
            length=int(metadata["values"]),
            name=path,
        ),
        obs=obs,
        var=var,
        offered=["X"],
        on_close=close,
    )


def _table(file: Any) -> Table:
    """The first column names the rows."""
    index, *names = file.schema_arrow.names
    return Table(lambda: _column(file, index), {name: partial(_column, file, name) for name in names})


def _column(file: Any, name: str) -> NDArray[Any]:
    """One column: strings, numbers or booleans."""
    column = file.read([name]).column(0)
    if str(column.type) != "string":
        return np.asarray(column.to_numpy())
    # Labels repeat: one text a value instead of one a cell.
    words = column.combine_chunks().dictionary_encode()
    known = as_plain(np.array(words.dictionary.to_pylist(), object))
    return categorical(words.indices.to_numpy(zero_copy_only=False), known)
