"""Bytes of a sequence file in pieces: plain, gzip and bgzip (many members), or the standard input."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from biolm.errors import InputError

__all__ = ["Stream", "open_stream"]

PIECE = 1 << 22
_GZIP = b"\x1f\x8b"
_OTHER = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


class Stream:
    """Bytes of a file, decompressed, in pieces.

    Parameters
    ----------
    path
        The file; None for the standard input.
    raw
        The opened file.
    """

    def __init__(self, path: Path | None, raw: BufferedReader) -> None:
        self.path = path
        self.name = "the standard input" if path is None else str(path)
        self._raw = raw
        head = raw.peek(16)
        for magic, form in _OTHER.items():
            if head.startswith(magic):
                raise InputError(f"{self.name} is compressed with {form}; decompress it, or use gzip")
        # A member that ends and another that begins are read on as one, which is what bgzip writes.
        self._file: IO[bytes] = (
            cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb")) if head.startswith(_GZIP) else raw
        )

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; fewer only at the end.

        Raises
        ------
        InputError
            If compressed data end early or are damaged.
        """
        try:
            return self._file.read(size)
        except EOFError:
            raise InputError(
                f"{self.name} ends in the middle of its compressed data; copy or download it again"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{self.name} is damaged ({error}); copy or download it again") from error

    def pieces(self, size: int = PIECE) -> Iterator[bytes]:
        """All bytes in order."""
        while piece := self.read(size):
            yield piece

    def lines(self, first: bytes = b"") -> Iterator[bytes]:
        """All lines in order, without their ends, those of bytes that were read already included."""
        *whole, rest = first.split(b"\n")
        yield from (line.rstrip(b"\r") for line in whole)
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.rstrip(b"\r") for line in whole)
        if rest:
            yield rest.rstrip(b"\r")

    def close(self) -> None:
        """Close the file; the standard input stays open."""
        if self.path is not None:
            self._raw.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_stream(path: str | Path) -> Stream:
    """Open a file, or the standard input for ``-``.

    Raises
    ------
    InputError
        If there is no such file, or it is compressed with anything but gzip.
    """
    if str(path) == "-":
        return Stream(None, cast("BufferedReader", sys.stdin.buffer))
    file = Path(path).expanduser()
    if file.is_dir():
        raise InputError(f"{file} is a folder; give a sequence file")
    try:
        raw = file.open("rb")
    except FileNotFoundError:
        raise InputError(f"there is no file {file}; check the path") from None
    try:
        return Stream(file, raw)
    except InputError:
        raw.close()
        raise
