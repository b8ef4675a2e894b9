"""Text files of cells as people have them: comments, blank lines, runs of blanks, quotes, old line ends."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.unpack import gunzip, open_gzip

__all__ = ["TidyLines", "first_lines", "read_lines", "unquoted"]

EMPTY = re.compile(rb"^ *\n", re.MULTILINE)
BLANK_RUNS = re.compile(rb"  +|^ +| +$", re.MULTILINE)
# What may stand in a piece of text that is not tidy; looking for these is fast.
UNTIDY = (b"  ", b" \n", b"\n ")


class TidyLines(io.RawIOBase):
    r"""Lines of a binary stream, without comments and blank lines, ended by ``\n``.

    Parameters
    ----------
    stream
        Gives pieces of text by ``read(size)``, as pyarrow's streams do.
    comment
        What comment lines begin with.
    blanks
        Whether blanks and tabs separate values, so that a run of them becomes one blank.

    Examples
    --------
    >>> TidyLines(io.BytesIO(b"% made by hand\n\n1  2\t 3 \r\n4 5 6"), b"%", blanks=True).readall()
    b'1 2 3\n4 5 6\n'
    """

    def __init__(self, stream: Any, comment: bytes, *, blanks: bool) -> None:
        self._stream, self._comment, self._blanks = stream, comment, blanks
        self._lines = re.compile(rb"^[ \t]*" + re.escape(comment) + rb".*(?:\n|\Z)", re.MULTILINE)
        self._rest = b""  # a line whose end was not read yet
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes of tidy text; empty at the end."""
        while not self._ready and not self._ended:
            piece = self._stream.read(size if size > 0 else 1 << 20)
            self._ended = not piece
            text = self._rest + piece
            if self._ended:
                self._rest = b""
                text += b"\n" if text else b""
            else:
                # A carriage return may be half of a line end.
                cut = max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1)) + 1
                text, self._rest = text[:cut], text[cut:]
            self._ready = self._tidy(text)
        size = len(self._ready) if size < 0 else size
        out, self._ready = self._ready[:size], self._ready[size:]
        return out

    def _tidy(self, text: bytes) -> bytes:
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        # A plain search first: most pieces have no comment, and the pattern is slow.
        if self._comment in text:
            text = self._lines.sub(b"", text)
        if self._blanks:
            if b"\t" in text:
                text = text.replace(b"\t", b" ")
            if text[:1] == b" " or any(mark in text for mark in UNTIDY):
                text = BLANK_RUNS.sub(_one_blank, text)
        if text[:1] == b"\n" or b"\n\n" in text or b" \n" in text:
            text = EMPTY.sub(b"", text)
        return text


def _one_blank(match: re.Match[bytes]) -> bytes:
    """One blank between values, none at the ends of a line."""
    text = match.string
    inside = match.start() and text[match.start() - 1] != 10 and text[match.end() : match.end() + 1] != b"\n"
    return b" " if inside else b""


def read_lines(path: Path) -> list[str]:
    """Lines of a small text file, gzipped or not, without blank ones.

    Raises
    ------
    InputError
        If it is no text.
    """
    try:
        content = path.read_bytes()
        text = gunzip(content, path) if path.suffix == ".gz" else content
        return [line for line in text.decode("utf-8-sig").splitlines() if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; copy or download it again") from error


def first_lines(path: Path, number: int, comment: str) -> list[str]:
    """The first lines of a text file that are neither blank nor comments, without their ends.

    The comment right above them comes first, as some tools mark the header so.

    Parameters
    ----------
    path
        Of the file.
    number
        How many.
    comment
        How comments begin.

    Raises
    ------
    InputError
        If it is no text.
    """
    above, lines = "", list[str]()
    try:
        with open_gzip(path, encoding="utf-8-sig") as file:
            for line in file:
                if line.lstrip().startswith(comment):
                    above = above if lines else line.rstrip("\n")
                elif line.strip():
                    lines.append(line.rstrip("\n"))
                if len(lines) == number:
                    break
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; check how it was made") from error
    return [above, *lines]


def unquoted(field: str) -> str:
    """A field without blanks around it and without a pair of quotes.

    Examples
    --------
    >>> unquoted(' "HLA-A" ')
    'HLA-A'
    """
    text = field.strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if quoted else text
