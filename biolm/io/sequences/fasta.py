"""FASTA: a stream of bytes to records.

Line ends are found for a whole piece at once, and removed from all its records in one call.

Dimensions: ``n`` records of a piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.sequences.block import SequenceBlock
from biolm.io.sequences.stream import Stream, header_texts

__all__ = ["read_fasta"]

_NEWLINE, _HEAD = ord("\n"), ord(">")
_COMMENT = re.compile(rb"^;.*\n?", re.MULTILINE)
_BLANKS = (b"\r", b"\t", b" ", b"\x0b", b"\x0c")


def read_fasta(stream: Stream, first: bytes = b"") -> Iterator[SequenceBlock]:
    """Records in order, as many a block as a piece of the stream holds.

    Parameters
    ----------
    stream
        The file.
    first
        Bytes that were read from it already.

    Raises
    ------
    InputError
        If it does not begin with a header, or a record has no letters.
    """
    start = 0
    for raw in _records(stream, first):
        if text := _bare(raw, first=not start):
            block = _parse(text, start, stream.name)
            start += len(block)
            yield block
    if not start:
        raise InputError(f"{stream.name} holds no record, only comments; give a file with a sequence")


def _bare(text: bytes, *, first: bool) -> bytes:
    """Text without comment lines, and without what may stand before the first header."""
    if first:
        text = text.removeprefix(b"\xef\xbb\xbf")
    if b";" in text:
        text = _COMMENT.sub(b"", text)
    return text.lstrip() if first else text


def _records(stream: Stream, first: bytes) -> Iterator[bytes]:
    """Bytes of whole records, each text from ``>`` on."""
    pieces = [first]
    for piece in stream.pieces():
        # The mark of the next record may be cut by the border of two pieces.
        seam = pieces[-1][-1:] + piece
        cut = seam.rfind(b"\n>")
        if cut < 0:
            pieces.append(piece)
            continue
        cut += 1 - len(pieces[-1][-1:])
        yield b"".join((*pieces, piece[:cut]))
        pieces = [piece[cut:]]
    if rest := b"".join(pieces):
        yield rest


def _parse(text: bytes, start: int, name: str) -> SequenceBlock:
    if not text.startswith(b">"):
        raise InputError(
            f"{name} is not FASTA: it does not begin with '>'; give FASTA, FASTQ, GenBank or EMBL"
        )
    raw = np.frombuffer(text, np.uint8)
    line_ends = np.flatnonzero(raw == _NEWLINE)
    lines = np.concatenate([[0], line_ends + 1])
    heads = lines[:-1] if text.endswith(b"\n") else lines
    heads = heads[raw[heads] == _HEAD]
    ends = np.append(line_ends, len(text))[np.searchsorted(line_ends, heads)]
    bodies = np.minimum(ends + 1, len(text))
    lasts = np.append(heads[1:], len(text))
    joined = b"".join([text[a:b] for a, b in zip(bodies.tolist(), lasts.tolist(), strict=True)])
    words = _words(text, heads, ends)
    letters, offsets = _clean(joined, lasts - bodies)
    return SequenceBlock(
        names=[word[0] for word in words],
        descriptions=[word[2].strip() for word in words],
        letters=letters,
        offsets=offsets,
        start=start,
    )


def _words(text: bytes, heads: NDArray[np.int64], ends: NDArray[np.int64]) -> list[tuple[str, str, str]]:
    """Each header, cut at its first blank."""
    lines = b"\n".join([text[a + 1 : b] for a, b in zip(heads.tolist(), ends.tolist(), strict=True)])
    return [line.strip().partition(" ") for line in header_texts(lines)]


def _clean(joined: bytes, lengths: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Letters without line ends and blanks, and where each record begins among them."""
    borders = np.concatenate([[0], np.cumsum(lengths)])
    raw = np.frombuffer(joined, np.uint8)
    gone = np.flatnonzero(raw == _NEWLINE)
    letters = joined.replace(b"\n", b"")
    if any(blank in letters for blank in _BLANKS):
        gone = np.flatnonzero(np.isin(raw, np.frombuffer(b"\n" + b"".join(_BLANKS), np.uint8)))
        letters = letters.translate(None, b"".join(_BLANKS))
    return np.frombuffer(letters, np.uint8), borders - np.searchsorted(gone, borders)
