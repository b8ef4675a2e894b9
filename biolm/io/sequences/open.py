"""Open a sequence file whatever its format, and cut its records into blocks of a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from biolm.errors import ConfigError, InputError
from biolm.io.damage import each_named
from biolm.io.sequences.annotated import ANNOTATED, read_annotated
from biolm.io.sequences.block import SequenceBlock, SequenceSource, concatenate_blocks
from biolm.io.sequences.fasta import read_fasta
from biolm.io.sequences.fastq import read_fastq
from biolm.io.sequences.letters import upper
from biolm.io.sequences.stream import PIECE, Stream, open_stream

__all__ = ["FORMATS", "is_sequence_file", "named_as_sequences", "open_sequences", "opened"]

_ENDINGS = (
    *(".fasta", ".fa", ".fna", ".faa", ".ffn", ".frn", ".fas", ".mpfa", ".fastq", ".fq"),
    *(".gb", ".gbk", ".gbff", ".genbank", ".embl", ".dat"),
)
_PACKED = (".gz", ".bgz", ".bgzf", ".bz2", ".xz")

FORMATS = ("fasta", "fastq", *ANNOTATED)
"""What :func:`open_sequences` reads."""


class _Source:
    """Records of a stream; see :class:`~biolm.io.sequences.block.SequenceSource`."""

    def __init__(
        self, stream: Stream, kind: str, first: bytes, *, case: str, features: str | None, translate: bool
    ) -> None:
        self.path, self.kind = stream.path, kind
        self._stream, self._first, self._case = stream, first, case
        self._features, self._translate = features, translate

    def blocks(self, *, records: int = 8192, residues: int = 1 << 22) -> Iterator[SequenceBlock]:
        """All records in order, at most ``records`` and ``residues`` a block."""
        first, self._first = self._first, b""
        if not first:
            raise InputError(f"{self._stream.name} was read already; open it again")
        parsed = each_named(self._parsed(first), self._stream.name)
        blocks = _checked(parsed, self._stream.name)
        for block in _regroup(blocks, records, residues):
            yield upper(block) if self._case == "upper" else block

    def _parsed(self, first: bytes) -> Iterator[SequenceBlock]:
        if self.kind == "fasta":
            return read_fasta(self._stream, first)
        if self.kind == "fastq":
            return read_fastq(self._stream, first)
        return read_annotated(
            self._stream, self.kind, first, features=self._features, translate=self._translate
        )

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_sequences(
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002  # the word users know
    case: Literal["keep", "upper"] = "keep",
    features: str | None = None,
    translate: bool = False,
    label: str | None = None,
) -> SequenceSource:
    """Open a file of sequences, or the standard input for ``-``.

    Parameters
    ----------
    path
        FASTA, FASTQ, GenBank, EMBL or Swiss-Prot; plain, gzip, bgzip, bzip2 or xz.
    format
        One of :data:`FORMATS`; inferred from the content by default.
    case
        ``keep`` lower case (soft mask) as it is written, or turn all into ``upper`` case.
    features, translate
        Of GenBank and EMBL: type of the features to cut out, such as ``CDS``, and whether to give proteins;
        see :func:`~biolm.io.sequences.annotated.read_annotated`.
    label
        Names the file in messages, where not by its path.

    Raises
    ------
    InputError
        If the file cannot be read or is none of these formats.
    ConfigError
        If the format is unknown or has no features.

    Examples
    --------
    >>> with open_sequences("proteins.fasta.gz") as source:  # doctest: +SKIP
    ...     for block in source.blocks():
    ...         print(len(block), block.names[0])
    """
    if format is not None and format not in FORMATS:
        raise ConfigError(f"there is no sequence format {format!r}; use one of {', '.join(FORMATS)}")
    stream = open_stream(path, label)
    try:
        first = stream.with_newlines(stream.read(PIECE))
        kind = format or _kind(first, stream.name)
        if (features or translate) and kind not in ANNOTATED:
            raise ConfigError(
                f"{stream.name} is {kind}, which has no features; leave features and translate out"
            )
        return _Source(stream, kind, first, case=case, features=features, translate=translate)
    except (InputError, ConfigError):
        stream.close()
        raise


def named_as_sequences(path: str | Path) -> bool:
    """Whether a file's name ends as those of sequence files do, compressed or not.

    Examples
    --------
    >>> named_as_sequences("proteins.fasta.bz2"), named_as_sequences("cells.h5ad")
    (True, False)
    """
    name = Path(path).name.lower()
    for ending in _PACKED:
        name = name.removesuffix(ending)
    return name.endswith(_ENDINGS)


def opened(paths: Iterable[str | Path]) -> Iterator[SequenceSource]:
    """Files one after the other, each open only while it is in turn."""
    for path in paths:
        with open_sequences(path) as source:
            yield source


def _kind(first: bytes, name: str) -> str:
    """The format that the first bytes are written in."""
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name} is UTF-16 text; save it as UTF-8 or plain text")
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise InputError(f"{name} is empty; give a file with at least one sequence")
    line = text.split(b"\n", 1)[0]
    # FASTA of old begins with comments.
    if line[:1] in (b">", b";"):
        return "fasta"
    if line[:1] == b"@":
        return "fastq"
    if line.startswith(b"LOCUS "):
        return "genbank"
    if line.startswith(b"ID   "):
        return "swiss" if b" AA." in line else "embl"
    shown = line[:20].decode("ascii", "replace")
    raise InputError(
        f"{name} is none of FASTA, FASTQ, GenBank, EMBL and Swiss-Prot: it begins with {shown!r}; "
        "check the file, or convert it to FASTA"
    )


def _checked(blocks: Iterator[SequenceBlock], name: str) -> Iterator[SequenceBlock]:
    """The same blocks, none with a record without letters; records without a name are called by number."""
    for block in blocks:
        for row, given in enumerate(block.names):
            if not given:
                block.names[row] = str(block.start + row + 1)
        empty = np.flatnonzero(block.lengths == 0)
        if len(empty):
            raise InputError(
                f"record {block.start + empty[0] + 1} of {name}, {block.names[empty[0]]!r}, has no letters; "
                "remove it or fill it in"
            )
        yield block


def _regroup(blocks: Iterator[SequenceBlock], records: int, residues: int) -> Iterator[SequenceBlock]:
    """The same records in blocks whose borders depend on nothing but the records and the limits."""
    pending: list[SequenceBlock] = []
    n_held = r_held = 0
    for block in blocks:
        first = 0
        while first < len(block):
            # Records of this block that still fit: by number, and by letters.
            budget = int(block.offsets[first]) + residues - r_held
            last = int(np.searchsorted(block.offsets, budget, side="right")) - 1
            last = min(max(last, first), first + records - n_held)
            # A record longer than a block is a block of its own: records are never cut.
            if last == first and not n_held:
                last = first + 1
            if last > first:
                part = block.part(first, last)
                pending.append(part)
                n_held, r_held, first = n_held + len(part), r_held + len(part.letters), last
            if first < len(block):
                yield concatenate_blocks(pending)
                pending, n_held, r_held = [], 0, 0
    if pending:
        yield concatenate_blocks(pending)


def is_sequence_file(path: str | Path) -> bool:
    """Whether a path names sequences: by its ending, by ``>`` at its beginning, or ``-`` for stdin.

    Examples
    --------
    >>> is_sequence_file("proteins.fasta.gz"), is_sequence_file("cells.h5ad")
    (True, False)
    """
    place = Path(path)
    if str(path) == "-" or named_as_sequences(place):
        return True
    if not place.is_file():
        return False
    with place.open("rb") as file:
        return file.read(1) == b">"
