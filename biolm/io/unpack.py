"""Gzip of others, unpacked up to a bound: a megabyte of it can hold gigabytes of nothing."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from biolm.errors import BiolmError, InputError

__all__ = ["Bounded", "check_expansion", "gunzip", "open_gzip"]

# Text of tables and sequences shrinks 3 to 30 times; long runs of N, and matrices of zeros, up to 200.
MOST_TIMES = 200
ALWAYS = 1 << 28
"""Bytes that any file may unpack to."""


def check_expansion(packed: int, unpacked: int, name: object, kind: type[BiolmError] = InputError) -> None:
    """Refuse content that has grown as no data do.

    Parameters
    ----------
    packed, unpacked
        Bytes of the file, and those that came out of it so far.
    name
        Names the file in the message.
    kind
        What is raised.

    Raises
    ------
    BiolmError
        Of the kind, beyond :data:`ALWAYS` bytes and 200 times the size of the file.
    """
    if unpacked > max(ALWAYS, MOST_TIMES * packed):
        raise kind(
            f"{name} unpacks to over {unpacked >> 20:,} MiB from {packed:,} bytes, as no data do; "
            "unpack it yourself if you trust it"
        )


def gunzip(content: bytes, name: object, kind: type[BiolmError] = InputError) -> bytes:
    """The whole content of gzipped bytes.

    Parameters
    ----------
    content
        One or more gzip members.
    name
        Names the file in the message.
    kind
        What is raised.

    Raises
    ------
    BiolmError
        Of the kind, if they are damaged or unpack to what :func:`check_expansion` refuses.

    Examples
    --------
    >>> gunzip(gzip.compress(b"genes"), "genes.gz")
    b'genes'
    """
    parts, size = [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while piece := file.read(1 << 22):
                size += len(piece)
                check_expansion(len(content), size, name, kind)
                parts.append(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise kind(f"{name} is damaged gzip ({error}); copy or download it again") from error
    return b"".join(parts)


class Bounded(io.RawIOBase):
    """A decompressing stream that raises when it has grown too much.

    Parameters
    ----------
    file
        Gives decompressed bytes by ``read(size)``.
    packed
        Size of the file on disk.
    name
        Names it in the message.
    """

    def __init__(self, file: Any, packed: int, name: object) -> None:
        self._file, self._packed, self._name, self._size = file, packed, name, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes."""
        try:
            piece: bytes = self._file.read(1 << 22 if size < 0 else size)
        except zlib.error as error:  # as whatever else gzip finds wrong, so that a reader expects one kind
            raise gzip.BadGzipFile(str(error)) from error
        self._size += len(piece)
        check_expansion(self._packed, self._size, self._name)
        return piece

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; the bytes that were read."""
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


@contextmanager
def open_gzip(path: Path, **text: Any) -> Iterator[IO[Any]]:
    """A file, unpacked where its name ends in ``.gz``, as bytes or, with ``encoding``, as text.

    Parameters
    ----------
    path
        The file.
    text
        ``encoding``, ``errors`` and ``newline`` of the text.
    """
    with path.open("rb") as raw:
        file: Any = raw
        if path.suffix == ".gz":
            file = io.BufferedReader(Bounded(gzip.GzipFile(fileobj=raw), path.stat().st_size, path), 1 << 18)
        yield io.TextIOWrapper(file, **text) if text else file
