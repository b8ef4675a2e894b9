"""Tables and rows of a store of cells; see :mod:`biolm.io.store`.

Dimensions: ``n`` cells of a block · ``v`` stored values · ``u`` genes of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.block import CellBlock
from biolm.io.cells.labels import label_text

__all__ = ["NAME", "column_kinds", "packed_rows", "write_cells", "write_genes"]

NAME = "name"  # of the column with the cells' names
WHOLE = 1e-6  # as for counts that went through text or float32 sums
_GROUP = 1 << 16

Columns = Mapping[str, NDArray[Any]]


def packed_rows(
    block: CellBlock, target: NDArray[np.int32], n_genes: int, *, whole: bool
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Rows of a block as a store holds them: each gene once, ascending, no zeros, the narrowest exact type.

    Parameters
    ----------
    block
        Cells of a file.
    target
        ``(g,)`` column of the store for each gene of the file.
    n_genes
        ``u``.
    whole
        Whether only counts are taken; else values are stored as float32.

    Returns
    -------
    ``(n,)`` values of each row; ``counts`` and ``columns`` ``(v,)``.

    Raises
    ------
    InputError
        If a value is negative, not finite, or no whole number where counts are wanted.
    """
    from scipy.sparse import csr_array

    _refuse_bad(block, whole=whole)
    # Sums of narrow integers would run over; scipy knows no half precision.
    exact = block.data.astype(np.float64 if block.data.dtype.kind == "f" else np.int64)
    rows = csr_array((exact, target[block.indices], block.indptr), (len(block), n_genes))
    rows.sum_duplicates()
    # Sums may cancel nothing, but stored zeros are common, and a cell's genes are those it expresses.
    rows.eliminate_zeros()
    columns = rows.indices.astype(np.uint16 if n_genes <= 1 << 16 else np.int32)
    # Values of normalised cells are float32 in every block, so that the type does not depend on the blocks.
    counts = _narrow(rows.data) if whole else rows.data.astype(np.float32)
    return np.diff(rows.indptr).astype(np.int64), {"counts": counts, "columns": columns}


def _refuse_bad(block: CellBlock, *, whole: bool) -> None:
    data = block.data
    bad = ~np.isfinite(data) | (data < 0) if data.dtype.kind == "f" else data < 0
    if whole and data.dtype.kind == "f" and not bad.any():
        nearest = np.rint(data)
        bad = np.abs(data - nearest) > WHOLE * np.maximum(1, data)
        bad |= (nearest == 0) & (data != 0)
    if bad.any():
        place = int(np.argmax(bad))
        row = int(np.searchsorted(block.indptr, place, side="right")) - 1
        wanted = "no count" if whole else "negative or not finite"
        raise InputError(
            f"cell {block.numbers[row]} (counted from 0) holds the value {data[place]}, which is {wanted}; "
            "choose the layer with raw counts (`layer`)"
        )


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers as uint16 or uint32 where they fit, else as float64."""
    near = np.rint(values) if values.dtype.kind == "f" else values
    largest = near.max(initial=0)
    if largest > np.iinfo(np.uint32).max:
        return near.astype(np.float64)
    return near.astype(np.uint16 if largest <= np.iinfo(np.uint16).max else np.uint32)


def column_kinds(tables: Iterable[Columns]) -> dict[str, np.dtype[Any]]:
    """The type of each column over the tables of all files: text if any file has text there."""
    kinds: dict[str, np.dtype[Any]] = {}
    for table in tables:
        for name, values in table.items():
            kind = np.dtype("U1") if values.dtype.kind == "U" else values.dtype
            before = kinds.get(name, kind)
            text = "U" in (kind.kind, before.kind)
            kinds[name] = np.dtype("U1") if text else np.result_type(before, kind)
    return kinds


def write_cells(path: Path, tables: Iterator[Columns], kinds: Mapping[str, np.dtype[Any]]) -> None:
    """Write the table of cells, file after file; ``name`` comes first.

    Parameters
    ----------
    path
        h5ad to write into.
    tables
        Of the files, in turn.
    kinds
        Type of each column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [
        (name, pa.string() if kind.kind == "U" else pa.from_numpy_dtype(kind)) for name, kind in kinds.items()
    ]
    schema = pa.schema(types)
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            columns = [
                pa.array(_as(table[name], kind), schema.field(name).type) for name, kind in kinds.items()
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=_GROUP)


def _as(values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """A column in the type that it has over all files; text that stood for numbers reads alike everywhere."""
    if kind.kind != "U":
        return values.astype(kind)
    return values if values.dtype.kind == "U" else label_text(values)


def write_genes(path: Path, table: Mapping[str, NDArray[np.str_]]) -> None:
    """Write the table of genes, the index first.

    Parameters
    ----------
    path
        h5ad to write into.
    table
        Columns by name.
    """
    write_cells(path, iter([table]), {name: np.dtype("U1") for name in table})
