"""AnnData's zarr stores, format 2 and 3, as folders or zip files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.anndata_store import open_store
from biolm.io.cells.rows import Slice
from biolm.io.cells.source import OpenCells
from biolm.io.contained import open_zarr

__all__ = ["Aligned", "open_file", "recognises"]

WIDE = 4
MARKS = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")


def recognises(path: Path) -> bool:
    """Whether the folder or zip file holds a zarr group."""
    if path.is_dir():
        return any((path / mark).exists() for mark in MARKS)
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(mark in archive.namelist() for mark in MARKS)
    return False


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open a store.

    Parameters
    ----------
    path
        Of the store.
    matrix
        ``X``, ``raw`` or a layer.

    Raises
    ------
    InputError
        If it is no group, its metadata cannot be read, or it leads out of itself.
    """
    root, store = open_zarr(path)
    return open_store(root, path, "zarr", matrix, column=_column, on_close=store.close)


def _column(array: Any) -> Slice:
    """Reader of spans of a one-dimensional zarr array."""
    return Aligned(array).read


class Aligned:
    """Reads whole chunks of a one-dimensional zarr array and keeps the last one.

    zarr keeps no decoded chunk between reads: without this, blocks smaller than a chunk would decode the
    same chunk again and again.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._items = int(array.chunks[0])
        self._first = 0
        self._kept: NDArray[Any] = np.empty(0, array.dtype)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Items ``start`` to ``stop``."""
        if stop - start >= WIDE * self._items:
            # Decoding two chunks anew costs less than copying the span.
            return np.asarray(self._array[start:stop])
        kept_end = self._first + len(self._kept)
        if self._first <= start and stop <= kept_end:
            return self._kept[start - self._first : stop - self._first]
        head = self._kept[start - self._first :] if self._first <= start < kept_end else self._kept[:0]
        first = (start + len(head)) // self._items * self._items
        end = min(-(-stop // self._items) * self._items, self._array.shape[0])
        fresh = np.asarray(self._array[first:end])
        last = (stop - 1) // self._items * self._items
        # A copy, so that the kept chunk does not keep the whole span alive.
        self._first, self._kept = last, fresh[last - first :].copy()
        return np.concatenate([head, fresh[start + len(head) - first : stop - first]])
