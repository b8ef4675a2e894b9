"""FASTQ: a stream of bytes to records with their qualities.

Dimensions: ``n`` records of a piece.

Records of four lines, which is nearly every file, are read a piece at a time; files whose sequences span
several lines are read line by line.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.sequences.block import SequenceBlock
from biolm.io.sequences.stream import Stream, header_texts

__all__ = ["read_fastq"]

_PHRED = 33
_NEWLINE, _RETURN = ord("\n"), ord("\r")
_ROWS = 4096


def read_fastq(stream: Stream, first: bytes = b"") -> Iterator[SequenceBlock]:
    """Records in order; quality scores are Phred+33.

    Parameters
    ----------
    stream
        The file.
    first
        Bytes that were read from it already.

    Raises
    ------
    InputError
        If it ends in the middle of a record, or a record's qualities do not fit its letters.
    """
    lines = first.split(b"\n")
    # Seen at the first record: reading in fours is many times as fast, and nearly all files are so.
    in_fours = len(lines) < 5 or (lines[2][:1] == b"+" and lines[4][:1] in (b"@", b"", b"\r"))
    yield from _fours(stream, first) if in_fours else _many_lines(stream, first)


def _fours(stream: Stream, first: bytes) -> Iterator[SequenceBlock]:
    rest, start = first, 0
    for piece in _with_end(stream):
        text = rest + piece
        # The last line need not end.
        if not piece and text and not text.endswith(b"\n"):
            text += b"\n"
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE)
        ends = ends[: len(ends) - len(ends) % 4]
        done = int(ends[-1]) + 1 if len(ends) else 0
        rest = text[done:]
        if not piece and rest.strip():
            raise InputError(f"{stream.name} ends in the middle of a record; copy or download it again")
        if done:
            yield _block(text, ends, start, stream.name)
            start += len(ends) // 4


def _with_end(stream: Stream) -> Iterator[bytes]:
    yield from stream.pieces()
    yield b""


def _block(text: bytes, ends: NDArray[np.int64], start: int, name: str) -> SequenceBlock:
    """Records of four lines each, whose line ends are ``ends (4 n,)``."""
    raw = np.frombuffer(text, np.uint8)
    begins = np.concatenate([[0], ends[:-1] + 1])
    lasts = ends - (raw[np.maximum(ends - 1, 0)] == _RETURN)
    lengths = (lasts - begins).reshape(-1, 4)
    marks = raw[begins.reshape(-1, 4)]
    bad = (marks[:, 0] != ord("@")) | (marks[:, 2] != ord("+")) | (lengths[:, 1] != lengths[:, 3])
    if bad.any():
        raise _damaged(start + int(np.argmax(bad)), name)
    lines = text[: ends[-1]].split(b"\n")
    if b"\r" in text:
        lines = [line.rstrip(b"\r") for line in lines]
    return _of(lines[::4], lines[1::4], lines[3::4], start)


def _damaged(row: int, name: str) -> InputError:
    return InputError(
        f"record {row + 1} of {name} is no FASTQ record: it needs '@', '+' and as many qualities as letters; "
        "repair or download the file again"
    )


def _of(heads: list[bytes], letters: list[bytes], scores: list[bytes], start: int) -> SequenceBlock:
    """A block of lines without their ends; heads with their ``@``."""
    words = [head[1:].strip().partition(" ") for head in header_texts(b"\n".join(heads))]
    offsets = np.zeros(len(letters) + 1, np.int64)
    np.cumsum([len(sequence) for sequence in letters], out=offsets[1:])
    return SequenceBlock(
        names=[word[0] for word in words],
        descriptions=[word[2] for word in words],
        letters=np.frombuffer(b"".join(letters), np.uint8),
        offsets=offsets,
        start=start,
        qualities=np.frombuffer(b"".join(scores), np.uint8) - np.uint8(_PHRED),
    )


def _many_lines(stream: Stream, first: bytes) -> Iterator[SequenceBlock]:
    heads: list[bytes] = []
    letters: list[bytes] = []
    scores: list[bytes] = []
    start = 0
    lines = (line.strip() for line in stream.lines(first))
    for head in lines:
        if not head:
            continue
        sequence, score = b"", b""
        for line in lines:
            if line[:1] == b"+":
                break
            sequence += line
        # By length alone: a line of qualities may begin with @ or +.
        while len(score) < len(sequence) and (line := next(lines, b"")):
            score += line
        if head[:1] != b"@" or len(score) != len(sequence):
            raise _damaged(start + len(heads), stream.name)
        heads.append(head)
        letters.append(sequence)
        scores.append(score)
        if len(heads) == _ROWS:
            yield _of(heads, letters, scores, start)
            start += len(heads)
            heads, letters, scores = [], [], []
    if heads:
        yield _of(heads, letters, scores, start)
