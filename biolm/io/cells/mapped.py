"""A one-dimensional array that lies in a file as numpy holds it: read by spans, or mapped for random access.

Dimensions: ``k`` items · ``e`` extents (pieces of the file that hold consecutive items) · ``s`` spans.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.whole import check_whole

__all__ = ["FileArray", "file_array_of"]

# Bytes read through a map before its pages are handed back: they count as memory of the process till then.
RELEASE_BYTES = 1 << 26
# More pieces than this are left to HDF5.
MOST_CHUNKS = 1 << 20

Extents = tuple[NDArray[np.int64], NDArray[np.int64]]


class FileArray:
    """Items at one place of an open file, or at several.

    Spans that are read in order go through ``pread``, so that a process that streams a file holds a span of
    it. Rows in random order are copied out of a map, which costs no call of the system each.

    Parameters
    ----------
    handle
        Number of the open file; it stays open while this is used.
    dtype, size
        Of the ``k`` items.
    starts, offsets
        ``(e,)`` first item of each extent, and the byte of the file at which it begins.
    path
        Of the file, for messages.
    """

    def __init__(
        self,
        handle: int,
        dtype: np.dtype[Any],
        size: int,
        starts: NDArray[np.int64],
        offsets: NDArray[np.int64],
        path: str | Path,
    ) -> None:
        self._handle, self.dtype, self.size, self._path = handle, dtype, size, path
        ends = offsets + np.diff(np.append(starts, size)) * dtype.itemsize
        self._needed = int(ends.max()) if size else 0
        self._starts = starts
        self._base = int(offsets.min()) if len(offsets) else 0
        # From the number of an item to its place behind the map, extent by extent.
        self._shift = (offsets - self._base) // dtype.itemsize - starts
        self._map: mmap.mmap | None = None
        self._view: NDArray[Any] = np.empty(0, dtype)
        self._touched = 0

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        """Items ``start`` to ``stop``, copied."""
        out = np.empty(max(min(stop, self.size) - start, 0), self.dtype)
        done = 0
        for low, high in self._pieces(start, start + len(out)):
            self._fill(out[done : done + high - low], self._base + low * self.dtype.itemsize)
            done += high - low
        return out

    def _fill(self, out: NDArray[Any], place: int) -> None:
        view, done = out.data.cast("B"), 0
        while done < out.nbytes:
            # A read and no map: pages of a map count as memory of this process, and a truncated file would
            # kill it.
            count = os.preadv(self._handle, [view[done:]], place + done)
            if not count:
                check_whole(self._path, self._needed, self._handle)
                raise OSError(f"{self._path} ends early")
            done += count

    def _pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Where a span lies behind the map, extent by extent."""
        pieces = []
        while start < stop:
            extent = int(np.searchsorted(self._starts, start, side="right")) - 1
            last = extent + 1 == len(self._starts)
            end = stop if last else min(stop, int(self._starts[extent + 1]))
            shift = int(self._shift[extent])
            pieces.append((start + shift, end + shift))
            start = end
        return pieces

    def copy(self, first: NDArray[np.int64], last: NDArray[np.int64], kind: Any = None) -> NDArray[Any]:
        """Items ``first`` to ``last`` of every span ``(s,)``, one after the other, out of the map.

        They are turned into the number type ``kind`` on the way, if that is wider.

        Parameters
        ----------
        first, last
            ``(s,)`` begin and end of each span, in items.
        kind
            Number type of the copy.
        """
        view = self._mapped()
        check_whole(self._path, self._needed, self._handle)
        extent = np.searchsorted(self._starts, first, side="right") - 1
        ends = np.append(self._starts[1:], self.size)[extent] if len(first) else last
        if (last <= ends).all():
            shift = self._shift[extent]
            pieces = zip((first + shift).tolist(), (last + shift).tolist(), strict=True)
            parts = [view[low:high] for low, high in pieces]
        else:
            spans = zip(first.tolist(), last.tolist(), strict=True)
            parts = [view[low:high] for span in spans for low, high in self._pieces(*span)]
        # Joined and widened in one pass over the map.
        wide = np.result_type(self.dtype, kind or self.dtype)
        out = np.concatenate(parts, dtype=wide) if parts else np.empty(0, wide)
        self._release(out.nbytes)
        return out

    def _mapped(self) -> NDArray[Any]:
        """The file from the first extent on, behind a map; nothing is read until it is looked at."""
        if self._map is None and self.size:
            self._map = mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ)
            count = (len(self._map) - self._base) // self.dtype.itemsize
            self._view = np.frombuffer(self._map, self.dtype, count, self._base)
        return self._view

    def _release(self, size: int) -> None:
        """Hand pages back after some bytes were copied; the system keeps them in its cache."""
        self._touched += size
        if self._map is not None and self._touched > RELEASE_BYTES:
            self._touched = 0
            if hasattr(mmap, "MADV_DONTNEED"):
                self._map.madvise(mmap.MADV_DONTNEED)


def file_array_of(dataset: Any) -> FileArray | None:
    """The items of an HDF5 dataset that lie in its file as numpy holds them; None where they do not.

    A read by place in the file costs a microsecond, one through HDF5 about a hundred.
    """
    file = dataset.file
    plain = dataset.dtype.kind in "iuf" and dataset.dtype.isnative and len(dataset.shape) == 1
    # Other drivers, a block of the user in front and external files shift or move the bytes.
    if not plain or file.driver != "sec2" or file.userblock_size or dataset.external:
        return None
    extents = _extents(dataset)
    if extents is None:
        return None
    handle, itemsize = file.id.get_vfd_handle(), dataset.dtype.itemsize
    starts, offsets = extents
    ends = offsets + np.diff(np.append(starts, dataset.shape[0])) * itemsize
    if (ends > os.fstat(handle).st_size).any() or ((offsets - offsets[:1]) % itemsize).any():
        return None
    return FileArray(handle, dataset.dtype, dataset.shape[0], starts, offsets, file.filename)


def _extents(dataset: Any) -> Extents | None:
    """First item and place of each piece of a dataset without filters, neighbours joined; None if unknown."""
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        return None if offset is None else (np.zeros(1, np.int64), np.array([offset], np.int64))
    items, count = int(dataset.chunks[0]), dataset.id.get_num_chunks()
    if dataset.id.get_create_plist().get_nfilters() or not hasattr(dataset.id, "chunk_iter"):
        return None
    # A chunk that was never written has no bytes in the file.
    if count != -(-dataset.shape[0] // items) or not 0 < count < MOST_CHUNKS:
        return None
    extents: list[tuple[int, int]] = []
    dataset.id.chunk_iter(lambda chunk: extents.append((chunk.chunk_offset[0], chunk.byte_offset)))
    starts, offsets = np.array(sorted(extents), np.int64).T
    # Most writers lay chunks end to end: one extent then stands for all.
    joined = np.diff(offsets) == items * dataset.dtype.itemsize
    first = np.append(True, ~joined)
    return starts[first], offsets[first]
