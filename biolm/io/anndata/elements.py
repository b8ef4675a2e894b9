"""AnnData's on-disk elements, written directly into HDF5 and zarr groups.

The same few attributes make an element readable by anndata in both stores, so one set of functions
serves both and nothing imports anndata.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["child", "new_array", "put", "put_chunks", "put_frame", "tag"]

_VERSIONS = {
    "anndata": "0.1.0",
    "array": "0.2.0",
    "categorical": "0.2.0",
    "csr_matrix": "0.1.0",
    "dataframe": "0.2.0",
    "dict": "0.1.0",
    "numeric-scalar": "0.2.0",
    "string": "0.2.0",
    "string-array": "0.2.0",
}


def tag(element: Any, kind: str) -> None:
    """Mark a group or array as one of AnnData's element types.

    Parameters
    ----------
    element
        Group or array.
    kind
        AnnData's name of the encoding.
    """
    element.attrs["encoding-type"] = kind
    element.attrs["encoding-version"] = _VERSIONS[kind]


def child(group: Any, name: str) -> Any:
    """The dictionary group of that name, made if it is not there.

    Parameters
    ----------
    group
        Where.
    name
        Of the dictionary.
    """
    if name in group:
        return group[name]
    group_made = group.create_group(name)
    tag(group_made, "dict")
    return group_made


def new_array(group: Any, name: str, shape: tuple[int, ...], dtype: Any, kind: str | None = "array") -> Any:
    """An empty array to fill piece by piece; ``dtype`` is ``str`` for text.

    HDF5 arrays are contiguous and zarr arrays hold pieces of about a mebibyte.

    Parameters
    ----------
    group, name
        Where.
    shape
        Of the array.
    dtype
        ``str`` for text.
    kind
        AnnData's name of the encoding.
    """
    if _is_hdf5(group):
        import h5py

        stored = h5py.string_dtype() if dtype is str else dtype
        # Without times, so that the same result is the same bytes.
        array = group.create_dataset(name, shape=shape, dtype=stored, track_times=False)
    else:
        array = group.create_array(name, shape=shape, dtype=dtype, chunks=_pieces(shape, dtype))
    if kind:
        tag(array, kind)
    return array


def put_chunks(
    group: Any, name: str, shape: tuple[int, ...], chunks: Iterable[NDArray[Any]], dtype: Any
) -> None:
    """Write an array from consecutive row chunks, replacing what was there.

    Parameters
    ----------
    group, name
        Where.
    shape, dtype
        Of the whole array.
    chunks
        Consecutive rows.
    """
    if name in group:
        del group[name]
    array = new_array(group, name, shape, dtype)
    start = 0
    for chunk in chunks:
        array[start : start + len(chunk)] = chunk
        start += len(chunk)


def put(group: Any, name: str, value: Any) -> None:
    """Write text, a number, an array of either, or a dictionary of these, replacing what was there.

    Parameters
    ----------
    group, name
        Where.
    value
        What is written.
    """
    if name in group:
        del group[name]
    if isinstance(value, Mapping):
        inner = child(group, name)
        for key, entry in value.items():
            put(inner, key, entry)
        return
    array = np.asarray(value)
    text = array.dtype.kind in "UOT"
    kinds = ("string", "string-array") if text else ("numeric-scalar", "array")
    array_made = new_array(group, name, array.shape, str if text else array.dtype, kinds[array.ndim > 0])
    if array.size:
        # h5py takes text of any length as Python objects alone.
        array_made[...] = array.astype(object) if text and _is_hdf5(group) else array


def put_frame(root: Any, name: str, index: NDArray[Any], columns: Mapping[str, NDArray[Any]]) -> None:
    """A data frame; "/" in the name of a column would nest it, and ``_index`` is taken.

    Parameters
    ----------
    root, name
        Where.
    index
        Names of the rows.
    columns
        By name.
    """
    frame = root.create_group(name)
    tag(frame, "dataframe")
    named = {name.replace("/", "_"): values for name, values in columns.items() if name != "_index"}
    frame.attrs["_index"] = "_index"
    frame.attrs["column-order"] = list(named)
    for column, values in {"_index": index, **named}.items():
        put(frame, column, values)


def _pieces(shape: tuple[int, ...], dtype: Any) -> tuple[int, ...]:
    """Shape of zarr pieces of about a mebibyte; whole rows, and never 0, also for an empty array."""
    if not shape:
        return ()
    width = 16 if dtype is str else np.dtype(dtype).itemsize
    row = max(1, int(np.prod(shape[1:])) * width)
    return (max(1, min(shape[0], 2**20 // row)), *(max(1, size) for size in shape[1:]))


def _is_hdf5(group: Any) -> bool:
    return type(group).__module__.startswith("h5py")
