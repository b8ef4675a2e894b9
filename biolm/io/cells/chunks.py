"""Fast spans of one-dimensional HDF5 datasets: compressed chunks inflated in threads.

Dimensions: ``c`` items of a chunk · ``s`` bytes of an item.

HDF5 decompresses one chunk at a time behind a global lock. Here the raw chunks are read with
``read_direct_chunk`` and decompressed outside it: gzip by libdeflate where the package ``deflate`` is
installed and by zlib elsewhere, lzf by a compiled kernel; all of them release Python's lock. What this
module does not know exactly (other filters, chunks without storage, damage) is left to h5py, which gives
the same values or the right error.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.lzf import compiled_lzf
from biolm.io.cells.mapped import file_array_of
from biolm.io.cells.rows import Slice

__all__ = ["Chunked", "hdf5_column", "inflater"]

# Filter numbers of https://docs.hdfgroup.org/hdf5/latest/_h5_z.html
DEFLATE, SHUFFLE, LZF = 1, 2, 32_000
# Loading the compiler costs as much time as h5py needs to decompress this many bytes of lzf.
LZF_BYTES = 1 << 27
# Decompressing fewer bytes than this costs less than handing them to a thread.
TASK_BYTES = 1 << 19
MAX_THREADS = 8

# From a compressed chunk and the size of its content to the content.
Decompress = Callable[[bytes, int], Any]


def hdf5_column(dataset: Any) -> Slice:
    """Reader of spans of a one-dimensional dataset, the fastest that its storage allows."""
    whole = file_array_of(dataset)
    if whole is not None:
        return whole
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    shuffled = filters[:1] == [SHUFFLE]
    if dataset.chunks and dataset.dtype.kind in "iuf":
        if filters[shuffled:] == [DEFLATE]:
            return Chunked(dataset, inflater(), shuffled=shuffled).read
        if filters[shuffled:] == [LZF] and dataset.nbytes >= LZF_BYTES:
            return Chunked(dataset, compiled_lzf(), shuffled=shuffled).read
    return lambda start, stop: dataset[start:stop]


def inflater() -> Decompress:
    """The fastest function at hand that decompresses zlib streams."""
    try:
        import deflate
    except ImportError:
        return lambda raw, size: zlib.decompress(raw, bufsize=size)
    return lambda raw, size: deflate.zlib_decompress(raw, size)


class Chunked:
    """A compressed one-dimensional dataset, its bytes shuffled or not.

    The last chunk of a span is kept, since the next span mostly begins in it.

    Parameters
    ----------
    dataset
        The open h5py dataset.
    decompress
        From a stored chunk and the size of its content to the content.
    shuffled
        Whether its filters shuffle bytes before they compress.
    """

    def __init__(self, dataset: Any, decompress: Decompress, *, shuffled: bool) -> None:
        self._dataset, self._decompress, self._shuffled = dataset, decompress, shuffled
        self._items = int(dataset.chunks[0])
        # A chunk that would not have shrunk is stored as it is, and its mask names the filter left out.
        self._uncompressed = 2 if shuffled else 1
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
            last = self._fill(out, start, self._stored(chunks))
        else:
            # A pool a span costs far less than the span, and leaves no threads behind when a process forks.
            with ThreadPoolExecutor(_threads()) as pool:
                tasks = []
                for first in range(chunks.start, chunks.stop, group):
                    part = range(first, min(first + group, chunks.stop))
                    tasks.append(pool.submit(self._fill, out, start, self._stored(part)))
                for task in tasks:
                    last = task.result()
        # Here and not in the tasks: they end in any order, and the first may still need what was kept before.
        if chunks:
            self._kept = (chunks[-1], last)
        return out

    def _stored(self, chunks: range) -> list[tuple[int, _Raw | NDArray[Any]]]:
        """Chunks as they are stored; the content of the one that is kept."""
        return [(chunk, self._kept[1] if chunk == self._kept[0] else self._raw(chunk)) for chunk in chunks]

    def _raw(self, chunk: int) -> _Raw:
        mask, content = self._dataset.id.read_direct_chunk((chunk * self._items,))
        if mask not in (0, self._uncompressed):
            raise ValueError("a chunk for which another filter was left out")
        return _Raw(content, compressed=mask == 0)

    def _fill(
        self, out: NDArray[Any], start: int, chunks: list[tuple[int, _Raw | NDArray[Any]]]
    ) -> NDArray[Any]:
        """Decode chunks into their places of a span that begins at ``start``; the items of the last."""
        stop, items = start + len(out), out[:0]
        for chunk, stored in chunks:
            first = chunk * self._items
            items = self._decode(stored) if isinstance(stored, _Raw) else stored
            low, high = max(start, first), min(stop, first + self._items)
            out[low - start : high - start] = items[low - first : high - first]
        return items

    def _decode(self, raw: _Raw) -> NDArray[Any]:
        """``(c,)`` items of a chunk."""
        dtype = self._dataset.dtype
        size = self._items * dtype.itemsize
        content = np.frombuffer(
            self._decompress(raw.content, size) if raw.compressed else raw.content, np.uint8
        )
        if self._shuffled:
            # All first bytes, then all second bytes: (s, c) -> (c, s). By columns, three times as fast as .T
            planes, content = content.reshape(-1, self._items), np.empty(size, np.uint8)
            for place, plane in enumerate(planes):
                content[place :: dtype.itemsize] = plane
        if len(content) != size:
            raise ValueError("a chunk of another size than the dataset's")
        items: NDArray[Any] = content.view(dtype)
        return items


class _Raw(NamedTuple):
    """A chunk as it is stored."""

    content: bytes
    compressed: bool


def _threads() -> int:
    """Threads to inflate with: one a core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_THREADS, cores)
