"""Open a sequence file whatever its format, and cut its records into blocks of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from biolm.errors import ConfigError, InputError
from biolm.io.sequences.block import SequenceBlock, SequenceSource, concatenate_blocks
from biolm.io.sequences.fasta import read_fasta
from biolm.io.sequences.stream import PIECE, Stream, open_stream

__all__ = ["FORMATS", "open_sequences"]

FORMATS = ("fasta",)


class _Source:
    """Records of a stream; see :class:`~biolm.io.sequences.block.SequenceSource`."""

    def __init__(self, stream: Stream, kind: str, first: bytes) -> None:
        self.path, self.kind = stream.path, kind
        self._stream, self._first = stream, first
        self._read = False

    def blocks(self, *, records: int = 8192, residues: int = 1 << 22) -> Iterator[SequenceBlock]:
        """All records in order, at most ``records`` and ``residues`` a block."""
        if self._read:
            raise InputError(f"{self._stream.name} was read already; open it again")
        self._read = True
        return _regroup(_checked(read_fasta(self._stream, self._first), self._stream.name), records, residues)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_sequences(path: str | Path, *, format: str | None = None) -> SequenceSource:  # noqa: A002  # the word users know
    """Open a file of sequences, or the standard input for ``-``.

    Parameters
    ----------
    path
        FASTA; plain, gzip or bgzip.
    format
        One of :data:`FORMATS`; told from the content by default.

    Raises
    ------
    InputError
        If the file cannot be read or is none of these formats.
    ConfigError
        If the format is unknown.
    """
    if format is not None and format not in FORMATS:
        raise ConfigError(f"there is no sequence format {format!r}; use one of {', '.join(FORMATS)}")
    stream = open_stream(path)
    try:
        first = stream.read(PIECE)
        if not first.strip():
            raise InputError(f"{stream.name} is empty; give a file with at least one sequence")
        return _Source(stream, format or "fasta", first)
    except InputError:
        stream.close()
        raise


def _checked(blocks: Iterator[SequenceBlock], name: str) -> Iterator[SequenceBlock]:
    for block in blocks:
        empty = np.flatnonzero(block.lengths == 0)
        if len(empty):
            raise InputError(
                f"record {block.start + empty[0] + 1} of {name}, {block.names[empty[0]]!r}, has no letters; "
                "remove it or fill it in"
            )
        yield block


def _regroup(blocks: Iterator[SequenceBlock], records: int, residues: int) -> Iterator[SequenceBlock]:
    """The same records in blocks whose borders depend on nothing but the records and the limits."""
    held: list[SequenceBlock] = []
    n_held = r_held = 0
    for block in blocks:
        first = 0
        while first < len(block):
            # Records of this block that still fit: by number, and by letters.
            room = int(block.offsets[first]) + residues - r_held
            last = int(np.searchsorted(block.offsets, room, side="right")) - 1
            last = min(max(last, first), first + records - n_held)
            if last == first and not n_held:
                last = first + 1
            if last > first:
                part = block.part(first, last)
                held.append(part)
                n_held, r_held, first = n_held + len(part), r_held + len(part.letters), last
            if first < len(block):
                yield concatenate_blocks(held)
                held, n_held, r_held = [], 0, 0
    if held:
        yield concatenate_blocks(held)
