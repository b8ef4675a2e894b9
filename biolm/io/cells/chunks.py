"""Fast spans of one-dimensional HDF5 datasets: compressed chunks inflated in threads.

Dimensions: ``c`` items of a chunk · ``s`` bytes of an item.

HDF5 inflates one chunk at a time behind a global lock. Here the raw chunks are read with
``read_direct_chunk`` and inflated outside it, by libdeflate where the package ``deflate`` is installed and
by zlib elsewhere; both release Python's lock. What this module does not know exactly (other filters,
chunks without storage, damage) is left to h5py, which gives the same values or the right error.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.rows import Slice

__all__ = ["Inflated", "hdf5_column", "inflater"]

# Filter numbers of https://docs.hdfgroup.org/hdf5/latest/_h5_z.html
DEFLATE, SHUFFLE = 1, 2
# Inflating fewer bytes than this costs less than handing them to a thread.
TASK_BYTES = 1 << 19
MAX_THREADS = 8

Inflate = Callable[[bytes, int], "bytes | bytearray"]


def hdf5_column(dataset: Any) -> Slice:
    """Reader of spans of a one-dimensional dataset, the fastest that its storage allows."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if dataset.chunks and dataset.dtype.kind in "iuf" and filters in ([DEFLATE], [SHUFFLE, DEFLATE]):
        return Inflated(dataset, shuffled=SHUFFLE in filters).read
    return lambda start, stop: dataset[start:stop]


def inflater() -> Inflate:
    """The fastest function at hand from a zlib stream and its inflated size to its content."""
    try:
        import deflate
    except ImportError:
        return lambda raw, size: zlib.decompress(raw, bufsize=size)
    return lambda raw, size: deflate.zlib_decompress(raw, size)


class Inflated:
    """A gzip-compressed one-dimensional dataset, its bytes shuffled or not.

    The last chunk of a span is kept, since the next span mostly begins in it.

    Parameters
    ----------
    dataset
        The open h5py dataset.
    shuffled
        Whether its filters shuffle bytes before they deflate.
    inflate
        As :func:`inflater` gives it.
    """

    def __init__(self, dataset: Any, *, shuffled: bool, inflate: Inflate | None = None) -> None:
        self._dataset, self._shuffled = dataset, shuffled
        self._inflate = inflate or inflater()
        self._items = int(dataset.chunks[0])
        self._kept: tuple[int, NDArray[Any]] = (-1, np.empty(0, dataset.dtype))

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Items ``start`` to ``stop``."""
        try:
            return self._read(start, stop)
        except Exception:  # every decoder has errors of its own; h5py then reads it or says what is wrong
            return np.asarray(self._dataset[start:stop])

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        """Items ``start`` to ``stop``, or any error where a chunk is not as expected."""
        out = np.empty(max(stop - start, 0), self._dataset.dtype)
        chunks = range(start // self._items, -(-stop // self._items)) if len(out) else range(0)
        group = max(1, TASK_BYTES // (self._items * out.itemsize))
        if len(chunks) <= group:
            self._fill(out, start, [(chunk, self._raw(chunk)) for chunk in chunks])
            return out
        # A pool a span costs far less than the span, and leaves no threads behind when a process forks.
        with ThreadPoolExecutor(_threads()) as pool:
            tasks = []
            for first in range(chunks.start, chunks.stop, group):
                part = range(first, min(first + group, chunks.stop))
                tasks.append(
                    pool.submit(self._fill, out, start, [(chunk, self._raw(chunk)) for chunk in part])
                )
            for task in tasks:
                task.result()
        return out

    def _raw(self, chunk: int) -> bytes | None:
        """The stored bytes of a chunk; None for the one that is kept."""
        if chunk == self._kept[0]:
            return None
        mask, raw = self._dataset.id.read_direct_chunk((chunk * self._items,))
        if mask:
            raise ValueError("a chunk for which a filter was skipped")
        return bytes(raw)

    def _fill(self, out: NDArray[Any], start: int, chunks: list[tuple[int, bytes | None]]) -> None:
        """Decode chunks into their places of a span that begins at ``start``."""
        stop = start + len(out)
        for chunk, raw in chunks:
            first = chunk * self._items
            items = self._kept[1] if raw is None else self._decode(raw)
            low, high = max(start, first), min(stop, first + self._items)
            out[low - start : high - start] = items[low - first : high - first]
            if high == stop:
                self._kept = (chunk, items)

    def _decode(self, raw: bytes) -> NDArray[Any]:
        """``(c,)`` items of a chunk."""
        dtype = self._dataset.dtype
        content = np.frombuffer(self._inflate(raw, self._items * dtype.itemsize), np.uint8)
        if self._shuffled:
            # All first bytes, then all second bytes: (s, c) -> (c, s).
            content = np.ascontiguousarray(content.reshape(dtype.itemsize, self._items).T).reshape(-1)
        items: NDArray[Any] = content.view(dtype)
        if len(items) != self._items:
            raise ValueError("a chunk of another size than the dataset's")
        return items


def _threads() -> int:
    """Threads to inflate with: one a core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_THREADS, cores)
