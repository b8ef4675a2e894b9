"""Bytes of a text file in pieces: plain, gzip and bgzip (many members), bzip2, xz, or the standard input."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from biolm.errors import InputError
from biolm.io.unpack import Bounded

__all__ = ["Stream", "header_texts", "open_stream"]

PIECE = 1 << 22
# Each reads on where one member ends and another begins, which is what bgzip and pbzip2 write.
_PACKED: Mapping[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_OTHER = {b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


class Stream:
    """Bytes of a file, decompressed, in pieces.

    Parameters
    ----------
    path
        The file; None for the standard input.
    raw
        The opened file.
    name
        Names it in messages, where not by its path.
    """

    def __init__(self, path: Path | None, raw: BufferedReader, name: str | None = None) -> None:
        self.path = path
        self.name = name or ("the standard input" if path is None else str(path))
        self._raw = raw
        # By content and not by ending: the standard input has no name, and files are renamed.
        head = raw.peek(16)
        for magic, form in _OTHER.items():
            if head.startswith(magic):
                raise InputError(f"{self.name} is compressed with {form}; decompress it, or use gzip")
        unpack = next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)
        self._packed = unpack is not None
        self._file: IO[bytes] | Any = raw
        if unpack is not None:
            opened = unpack(fileobj=raw) if unpack is gzip.GzipFile else unpack(raw)
            self._file = opened if path is None else Bounded(opened, path.stat().st_size, self.name)
        self._returns = False

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; fewer only at the end.

        Raises
        ------
        InputError
            If compressed data end early or are damaged.
        """
        try:
            piece = self._file.read(size)
            return piece.replace(b"\r", b"\n") if self._returns else piece
        except EOFError:
            raise InputError(
                f"{self.name} ends in the middle of its compressed data; copy or download it again"
            ) from None
        except (OSError, zlib.error, lzma.LZMAError) as error:
            if not self._packed:
                raise
            raise InputError(f"{self.name} is damaged ({error}); copy or download it again") from error

    def with_newlines(self, first: bytes) -> bytes:
        """The first bytes; where a lone carriage return ends their lines, it does so in all that follows.

        Files of classic Mac OS, and spreadsheets saved as "CSV (Macintosh)", are written so.
        """
        first = first.removeprefix(b"\xef\xbb\xbf")  # a byte order mark would hide what the first line is
        self._returns = b"\r" in first and b"\n" not in first
        return first.replace(b"\r", b"\n") if self._returns else first

    def pieces(self, size: int = PIECE) -> Iterator[bytes]:
        """All bytes in order."""
        while piece := self.read(size):
            yield piece

    def lines(self, first: bytes = b"") -> Iterator[bytes]:
        """All lines in order, without their ends, those of bytes that were read already included."""
        first = first or self.with_newlines(self.read(PIECE))
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


def open_stream(path: str | Path, name: str | None = None) -> Stream:
    """Open a file, or the standard input for ``-``; ``name`` stands for it in messages.

    Parameters
    ----------
    path
        Of the file, or ``-``.
    name
        Stands for it in messages.

    Raises
    ------
    InputError
        If there is no such file, or it is compressed with anything but gzip, bzip2 and xz.
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
        return Stream(file, raw, name)
    except InputError:
        raw.close()
        raise


def header_texts(lines: bytes) -> list[str]:
    """Headers of records as text: UTF-8, or Latin-1 where they are not; tabs become blanks.

    Examples
    --------
    >>> header_texts("prot\u00e9ine x".encode("latin-1"))
    ['prot\u00e9ine x']
    """
    try:
        text = lines.decode("utf-8")
    except UnicodeDecodeError:
        text = "\n".join(_decoded(line) for line in lines.split(b"\n"))
    return text.replace("\t", " ").split("\n")


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
