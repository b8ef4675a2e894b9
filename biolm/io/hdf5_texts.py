"""What HDF5 does not check before it reads texts: that the heaps which hold them end, and how long they are.

Texts of any length, and attributes that are such, lie in *global heaps*: collections of objects, each behind
a header with its size. Where the header of the free space says 0, HDF5 goes round the same 16 bytes for ever
and hears no signal; where a text is said to be gigabytes long, they are filled before anything else is looked
at. Both are seen here from a few bytes of the file.

Layout: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html (Global Heap, Reference Datatype)

Dimensions: ``n`` texts.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

__all__ = ["check_heaps", "check_lengths", "extents_of"]

Extent = tuple[int, int]
"""First byte and end of a piece of a file that holds values of a dataset, and so no heap."""

_HEAP = re.compile(rb"GCOL\x01\0\0\0")
_MARK = 8
_HEADER = 16
_PIECE = 1 << 22
# Looking through the values of smaller datasets costs less than asking where they lie.
_SMALL = 1 << 20
_DEFLATE, _SHUFFLE = 1, 2
_DESCRIPTOR = 16  # bytes on disk of a text: its length, the address of its heap, its number there


def extents_of(dataset: Any) -> list[Extent]:
    """Where a large dataset keeps its values; nothing for small ones.

    Parameters
    ----------
    dataset
        An h5py ``DatasetID``.
    """
    import h5py

    layout = dataset.get_create_plist().get_layout()
    if layout == h5py.h5d.CONTIGUOUS:
        size, start = dataset.get_storage_size(), dataset.get_offset()
        return [(start, start + size)] if start is not None and size >= _SMALL else []
    extents: list[Extent] = []
    if layout == h5py.h5d.CHUNKED and dataset.get_storage_size() >= _SMALL:
        dataset.chunk_iter(lambda chunk: extents.append((chunk.byte_offset, chunk.byte_offset + chunk.size)))
    return extents


def check_heaps(path: Path, skipped: list[Extent]) -> None:
    """Refuse a file with a global heap in which HDF5 would never come to an end.

    Parameters
    ----------
    path
        The file.
    skipped
        What of it holds values and need not be looked at.

    Raises
    ------
    InputError
        If the objects of a heap do not lie in it one behind the other; the message gives its place.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start, stop in _between(skipped, size):
            for place in range(start, stop, _PIECE):
                # A mark may stand across the border of two pieces.
                piece = os.pread(file.fileno(), min(_PIECE + _MARK - 1, stop - place), place)
                for match in _HEAP.finditer(piece):
                    if not _ends(file.fileno(), place + match.start(), size):
                        raise InputError(
                            f"{path} is damaged: the store of its texts at byte {place + match.start():,} "
                            "does not add up, so that reading it would never end; copy or download it again"
                        )


def _between(skipped: list[Extent], size: int) -> Iterator[Extent]:
    """The pieces of a file between those that are skipped."""
    at = 0
    for start, stop in sorted(skipped):
        if start > at:
            yield at, min(start, size)
        at = max(at, stop)
    if at < size:
        yield at, size


def _ends(file: int, start: int, size: int) -> bool:
    """Whether the walk through a heap's objects comes to its end."""
    head = os.pread(file, 16, start)
    if len(head) < 16:
        return False
    length = int.from_bytes(head[8:], "little")
    if start + length > size:
        return False
    heap = os.pread(file, length, start)
    # In the order of this machine, which is the file's on all that biolm is installed on; no copy is made.
    words = memoryview(heap)[: len(heap) // 8 * 8].cast("Q")
    last, at = len(words) - 1, 2
    while at < last:
        # The header of an object: its number in the lowest two bytes of a word, its size in the next word.
        if not words[at] & 0xFFFF:  # the free space, whose size counts its own header
            return words[at + 1] >= _HEADER
        at += 2 + (words[at + 1] + 7 >> 3)
    return at <= last + 1


def check_lengths(dataset: Any) -> None:
    """Refuse texts that are said to be longer than the file which holds them.

    Parameters
    ----------
    dataset
        An h5py dataset; anything but texts of any length passes.

    Raises
    ------
    ValueError
        If together they are.
    """
    import h5py

    if not isinstance(dataset, h5py.Dataset) or not dataset.size:
        return
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None or kind.length is not None:
        return
    size = Path(dataset.file.filename).stat().st_size
    total = sum(int(lengths.sum(dtype=np.int64)) for lengths in _stored_lengths(dataset))
    if total > size:
        raise ValueError(f"its texts are said to be {total:,} bytes long, the file has {size:,}")


def _stored_lengths(dataset: Any) -> Iterator[NDArray[np.uint32]]:
    """Lengths ``(n,)`` of the texts of each piece of a dataset, as far as its storage is a known one."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    start = dataset.id.get_offset()
    if start is not None:
        with Path(dataset.file.filename).open("rb") as file:
            yield _lengths(os.pread(file.fileno(), dataset.size * _DESCRIPTOR, start))
    elif dataset.chunks and set(filters) <= {_DEFLATE, _SHUFFLE}:
        places: list[tuple[int, ...]] = []
        dataset.id.chunk_iter(lambda chunk: places.append(chunk.chunk_offset))
        chunk_bytes = int(np.prod(dataset.chunks)) * _DESCRIPTOR
        for place in places:
            mask, content = dataset.id.read_direct_chunk(place)
            kept = [name for number, name in enumerate(filters) if not mask >> number & 1]
            if _DEFLATE in kept:
                content = zlib.decompressobj().decompress(content, chunk_bytes)
            values = np.frombuffer(content, np.uint8)
            if _SHUFFLE in kept:
                values = values[: len(values) // _DESCRIPTOR * _DESCRIPTOR].reshape(_DESCRIPTOR, -1).T
            yield _lengths(values.tobytes())


def _lengths(content: bytes) -> NDArray[np.uint32]:
    whole = len(content) // _DESCRIPTOR * _DESCRIPTOR
    return np.frombuffer(content[:whole], "<u4")[::4]
