"""FASTA: a stream of bytes to records.

Whole pieces are cut at ``>`` and cleaned by the C loops of ``bytes``, one call a record.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from biolm.errors import InputError
from biolm.io.sequences.block import SequenceBlock
from biolm.io.sequences.stream import Stream

__all__ = ["read_fasta"]

_BLANKS = b"\n\r\t \x0b\x0c"


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
    for text in _records(stream, first):
        block = _parse(text, start, stream.name)
        start += len(block)
        yield block


def _records(stream: Stream, first: bytes) -> Iterator[bytes]:
    """Bytes of whole records, each text from ``>`` on."""
    held = [first]
    for piece in stream.pieces():
        # The mark of the next record may be cut by the border of two pieces.
        seam = held[-1][-1:] + piece
        cut = seam.rfind(b"\n>")
        if cut < 0:
            held.append(piece)
            continue
        cut += 1 - len(held[-1][-1:])
        yield b"".join((*held, piece[:cut]))
        held = [piece[cut:]]
    if rest := b"".join(held):
        yield rest


def _parse(text: bytes, start: int, name: str) -> SequenceBlock:
    if not start:
        text = text.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith(b">"):
        raise InputError(
            f"{name} is not FASTA: it does not begin with '>'; give FASTA, FASTQ, GenBank or EMBL"
        )
    heads, bodies = [], []
    for record in text[1:].split(b"\n>"):
        head, _, body = record.partition(b"\n")
        heads.append(head)
        bodies.append(body.translate(None, _BLANKS))
    offsets = np.zeros(len(heads) + 1, np.int64)
    np.cumsum([len(body) for body in bodies], out=offsets[1:])
    words = [head.decode("utf-8", "replace").strip().partition(" ") for head in heads]
    return SequenceBlock(
        names=[word[0] for word in words],
        descriptions=[word[2].strip() for word in words],
        letters=np.frombuffer(b"".join(bodies), np.uint8),
        offsets=offsets,
        start=start,
    )
