"""Text files as people have them: gzipped or not, with or without a byte order mark, any line end."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from biolm.errors import InputError
from biolm.io.unpack import Bounded

__all__ = ["lines_of", "open_bytes", "open_text", "reading", "stem_of"]

_GZIP = b"\x1f\x8b"


def stem_of(path: Path) -> str:
    """Name of a file without ``.gz`` and its ending."""
    name = path.name.removesuffix(".gz")
    return Path(name).stem


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn failures of reading a file into one sentence that names it.

    Raises
    ------
    InputError
        If the file is missing, cut off, or not UTF-8.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; check the name") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give a file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is cut off or damaged ({error}); fetch it again") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.start}: {error.reason}); convert it, for example "
            "with iconv"
        ) from error


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes; gzip is recognised by content, not by name."""
    with reading(path):
        with path.open("rb") as probe:
            zipped = probe.read(2) == _GZIP
        if zipped:
            with path.open("rb") as raw, gzip.open(raw, "rb") as file:
                yield io.BufferedReader(Bounded(file, path.stat().st_size, path))
        else:
            with path.open("rb") as file:
                yield file


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open UTF-8 text; a byte order mark is dropped and CRLF is read as LF."""
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        yield text
        # Or the wrapper would close the file under whoever opened it.
        text.detach()


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends; only LF and CRLF end a line, as U+2028 and U+0085 are text."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\n").removesuffix("\r")
