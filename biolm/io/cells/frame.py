"""The obs and var tables of AnnData files, in every encoding that anndata has written.

Works alike on h5py and zarr groups: both hold arrays and attributes under names.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.labels import spelled_number
from biolm.io.cells.source import Table
from biolm.io.hdf5_texts import check_lengths

__all__ = ["as_plain", "as_text", "categorical", "decoded", "encoded_table", "read_values"]


def encoded_table(node: Any, name: object, uns: Any = None) -> Table:
    """Table behind an encoded dataframe: a group of columns, or a record array of old files.

    Parameters
    ----------
    node
        The h5py or zarr group (or record array) that holds obs or var.
    name
        Names the file in errors.
    uns
        Where anndata before 0.7 kept the categories of coded columns, as ``COLUMN_categories``.

    Raises
    ------
    InputError
        If it is no table.
    """
    if not hasattr(node, "keys"):
        records = _old_records(node, name, uns)
        index, *rest = records
        return Table(lambda: as_text(records[index]), {key: partial(as_plain, records[key]) for key in rest})
    index = _text(node.attrs.get("_index", "_index"))
    if index not in node:
        raise InputError(f"{name} is not a whole AnnData file: its table {node.name} has no index")
    # HDF5 lists members by name; anndata keeps the order of the user's columns aside.
    order = [_text(column) for column in node.attrs.get("column-order", ())]
    columns = [column for column in order or sorted(node.keys()) if column != index and column in node]
    return Table(
        lambda: as_text(read_values(node[index])),
        {column: partial(read_values, node[column], node) for column in columns if column[:2] != "__"},
    )


def read_values(node: Any, table: Any = None) -> NDArray[Any]:
    """One column: strings for text and categories, else numbers or booleans; see ``obs_column``.

    Parameters
    ----------
    node
        Array or group of the column.
    table
        The table it belongs to, where old files keep the categories of all columns.
    """
    if hasattr(node, "keys"):
        if "categories" in node:
            return categorical(node["codes"][...], read_values(node["categories"]))
        return _masked(node, np.asarray(node["mask"][...], dtype=bool))
    # anndata before 0.8 kept categories in a group of their own.
    if "categories" in node.attrs and table is not None and "__categories" in table:
        return categorical(node[...], read_values(table["__categories"][node.name.rsplit("/", 1)[-1]]))
    check_lengths(node)
    return as_plain(np.asarray(node[...]))


def as_text(values: NDArray[Any]) -> NDArray[np.str_]:
    """Any column as strings."""
    plain = as_plain(values)
    return plain if plain.dtype.kind == "U" else plain.astype(np.str_)


def as_plain(values: NDArray[Any]) -> NDArray[Any]:
    """Objects, bytes and variable-width strings as fixed-width strings; numbers as they are."""
    if values.dtype.kind == "S":
        return np.array([decoded(value) for value in values.ravel().tolist()], np.str_).reshape(values.shape)
    if values.dtype.kind in "OT":
        return np.array([_text(value) for value in values.tolist()], dtype=np.str_)
    return values


def _text(value: Any) -> str:
    """One string, whatever h5py made of it; '' for a missing one."""
    if isinstance(value, bytes):
        return decoded(value)
    if isinstance(value, float):
        return spelled_number(value)
    return "" if value is None or value != value else str(value)


def decoded(value: bytes) -> str:
    """Text of a file; what is no UTF-8 was written by a tool that knew Latin-1 alone."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def categorical(codes: NDArray[Any], categories: NDArray[Any]) -> NDArray[Any]:
    """Categories by code ``(n,)``; code -1 is missing: '' among strings, NaN among numbers.

    Parameters
    ----------
    codes
        ``(n,)``.
    categories
        By code.
    """
    known: NDArray[Any] = categories
    if len(codes) and (codes.min() < -1 or codes.max() >= len(categories)):
        raise ValueError(f"codes outside its {len(categories)} categories")
    if categories.dtype.kind == "U":
        known = np.append(categories, "")
    # Only then: whole numbers stay whole where none is missing.
    elif (codes < 0).any():
        known = np.append(categories.astype(np.float64), np.nan)
    return np.asarray(known[codes])


def _masked(node: Any, missing: NDArray[np.bool_]) -> NDArray[Any]:
    """A nullable column: values and a mask that is true where one is missing."""
    values = read_values(node["values"])
    if not missing.any():
        return values
    if values.dtype.kind in "Ub":
        # As floats, yes and no would be spelled unlike those of a column in which none is missing.
        return np.where(missing, "", values.astype(np.str_))
    return np.where(missing, np.nan, values.astype(np.float64))


def _old_records(node: Any, name: object, uns: Any) -> dict[str, NDArray[Any]]:
    """Columns of a record array, the index first."""
    records = node[...]
    fields = records.dtype.names
    if not fields:
        raise InputError(f"{name} is not a whole AnnData file: its table {node.name} has no columns")
    first = next((field for field in ("index", "_index") if field in fields), fields[0])
    rest = [field for field in fields if field != first]
    return {field: _old_column(records[field], field, name, uns) for field in (first, *rest)}


def _old_column(values: NDArray[Any], field: str, name: object, uns: Any) -> NDArray[Any]:
    """One field of a record array; codes become their categories."""
    stored = f"{field}_categories"
    if values.dtype.kind not in "iu" or not hasattr(uns, "keys") or stored not in uns:
        return values
    categories = np.atleast_1d(read_values(uns[stored]))
    if values.max(initial=-1) >= len(categories):
        raise InputError(
            f"{name} is damaged: the column {field!r} has codes beyond its {len(categories)} categories; "
            "write the file again from its source"
        )
    return categorical(values, categories)
