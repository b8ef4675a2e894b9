"""A one-dimensional array that lies in a file as numpy holds it: read by spans, or mapped for random access.

Dimensions: ``k`` items.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FileArray", "file_array_of"]

# Bytes read through a map before its pages are handed back: they count as memory of the process till then.
RELEASE_BYTES = 1 << 26


class FileArray:
    """Items at a place in an open file.

    Spans that are read in order go through ``pread``, so that a process that streams a file holds a span of
    it. Rows in random order are copied out of a map, which costs no call of the system each.

    Parameters
    ----------
    handle
        Number of the open file; it stays open while this is used.
    offset
        Byte at which the items begin.
    dtype, size
        Of the ``k`` items.
    """

    def __init__(self, handle: int, offset: int, dtype: np.dtype[Any], size: int) -> None:
        self._handle, self._offset, self.dtype, self.size = handle, offset, dtype, size
        self._map: mmap.mmap | None = None
        self._view: NDArray[Any] | None = None
        self._touched = 0

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        """Items ``start`` to ``stop``, copied."""
        out = np.empty(max(min(stop, self.size) - start, 0), self.dtype)
        view, done = out.data.cast("B"), 0
        while done < out.nbytes:
            place = self._offset + start * self.dtype.itemsize + done
            count = os.preadv(self._handle, [view[done:]], place)
            if not count:
                raise OSError("the file ends early")
            done += count
        return out

    def mapped(self) -> NDArray[Any]:
        """All ``(k,)`` items behind a map; nothing is read until they are looked at."""
        if self._view is None:
            if not self.size:
                return np.empty(0, self.dtype)
            self._map = mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ)
            self._view = np.frombuffer(self._map, self.dtype, self.size, self._offset)
        return self._view

    def release(self, items: int) -> None:
        """Tell that so many mapped items were copied; pages are handed back after some of that.

        The system keeps them in its cache, so that reading them again costs little.
        """
        self._touched += items * self.dtype.itemsize
        if self._map is not None and self._touched > RELEASE_BYTES:
            self._touched = 0
            if hasattr(mmap, "MADV_DONTNEED"):
                self._map.madvise(mmap.MADV_DONTNEED)


def file_array_of(dataset: Any) -> FileArray | None:
    """The items of an HDF5 dataset that lies in its file in one piece; None where it does not.

    A read by place in the file costs a microsecond, one through HDF5 about a hundred.
    """
    plain = dataset.chunks is None and dataset.dtype.kind in "iuf" and dataset.dtype.isnative
    offset = dataset.id.get_offset() if plain and len(dataset.shape) == 1 else None
    file = dataset.file
    if offset is None or file.driver != "sec2" or file.userblock_size or dataset.external:
        return None
    handle = file.id.get_vfd_handle()
    if offset + dataset.nbytes > os.fstat(handle).st_size:
        return None
    return FileArray(handle, offset, dataset.dtype, dataset.shape[0])
