"""Decompress LZF, the fast compression of HDF5 files written by Python.

Format: http://oldhome.schmorp.de/marc/liblzf.html (control byte below 32: that many bytes and one more
follow as they are; else a length of 3 bits and a distance of 13 bits back).

Dimensions: ``c`` compressed bytes · ``s`` bytes of content.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["compiled_lzf", "unpack_lzf"]

Bytes = NDArray[np.uint8]


@cache
def compiled_lzf() -> Callable[[bytes, int], Bytes]:
    """Compiled decompressor from the compressed bytes and the size of the content.

    It releases Python's lock. Compiled at the first call, kept on disk where numba can write.
    """
    import numba

    try:
        # Without the GIL, so that threads unpack chunks side by side.
        kernel: Any = numba.njit(unpack_lzf, cache=True, nogil=True)
    except RuntimeError:  # no folder that numba may write
        kernel = numba.njit(unpack_lzf, nogil=True)

    def decompress(raw: bytes, size: int) -> Bytes:
        content = np.empty(size, np.uint8)
        if kernel(np.frombuffer(raw, np.uint8), content) != size:
            raise ValueError("damaged LZF data")
        return content

    return decompress


def unpack_lzf(raw: Bytes, content: Bytes) -> int:
    """Fill ``content (s,)`` from ``raw (c,)``; bytes written, -1 where the data is damaged.

    Parameters
    ----------
    raw
        ``(c,)`` packed bytes.
    content
        ``(s,)``, written.
    """
    place, end = 0, 0
    while place < raw.size:
        control: Any = np.int64(raw[place])  # signed: unsigned arithmetic would turn into floats
        place += 1
        if control < 32:
            length = control + 1
            if place + length > raw.size or end + length > content.size:
                return -1
            for step in range(length):
                content[end + step] = raw[place + step]
            place += length
        else:
            length = control >> 5
            if length == 7 and place < raw.size:
                length += np.int64(raw[place])
                place += 1
            if place >= raw.size:
                return -1
            start = end - ((control & 31) << 8) - np.int64(raw[place]) - 1
            place += 1
            length += 2
            if start < 0 or end + length > content.size:
                return -1
            # One byte at a time: the source may overlap what is being written.
            for step in range(length):
                content[end + step] = content[start + step]
        end += length
    return end
