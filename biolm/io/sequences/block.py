"""What a reader of sequences hands over: a block of records, and the source it came from.

Dimensions: ``n`` records of a block · ``r`` letters of all of them, end to end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["SequenceBlock", "SequenceSource", "concatenate_blocks"]


@dataclass(frozen=True, slots=True)
class SequenceBlock:
    """Consecutive records of a sequence file, their letters end to end as ASCII codes.

    Parameters
    ----------
    names
        ``n`` names: the first word of each header.
    descriptions
        ``n`` texts: the rest of each header, '' where there is none.
    letters
        ``(r,)`` uint8, as written in the file: lower case (soft mask), gaps and ``*`` are kept.
    offsets
        ``(n + 1,)`` int64; record ``i`` is ``letters[offsets[i]:offsets[i + 1]]``.
    start
        Number of the first record in the whole file.
    qualities
        ``(r,)`` uint8 Phred scores of FASTQ; None elsewhere.

    Examples
    --------
    >>> block = SequenceBlock.of(["MKV", "AG"], names=["first", "second"])
    >>> len(block), block.text(1), block.lengths.tolist()
    (2, 'AG', [3, 2])
    """

    names: list[str]
    descriptions: list[str]
    letters: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    start: int = 0
    qualities: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, texts: Sequence[str], names: Sequence[str] | None = None, start: int = 0) -> SequenceBlock:
        """A block of sequences in memory; without ``names`` they are numbered from 1.

        Parameters
        ----------
        texts
            Sequences.
        names
            Of each; numbers from 1 by default.
        start
            Number of the first record in its file.
        """
        given = [str(start + place + 1) for place in range(len(texts))] if names is None else list(names)
        # A letter beyond ASCII becomes "?", which every tokeniser names as unknown.
        pieces = [text.encode("ascii", "replace") for text in texts]
        return cls(
            names=given,
            descriptions=[""] * len(texts),
            letters=np.frombuffer(b"".join(pieces), np.uint8),
            offsets=_offsets([len(piece) for piece in pieces]),
            start=start,
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(n,)`` letters of each record."""
        return np.diff(self.offsets)

    def text(self, row: int) -> str:
        """The letters of one record."""
        return self.letters[self.offsets[row] : self.offsets[row + 1]].tobytes().decode("ascii", "replace")

    def take(self, rows: NDArray[np.intp] | Sequence[int]) -> SequenceBlock:
        """The records ``rows``, in that order; ``start`` stays that of this block."""
        chosen = np.asarray(rows, dtype=np.intp)
        offsets = _offsets(self.lengths[chosen])
        # Letter k of the result lies at its record's old start plus its place inside the record.
        gather = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], np.diff(offsets)) + np.arange(
            offsets[-1]
        )
        return SequenceBlock(
            names=[self.names[row] for row in chosen.tolist()],
            descriptions=[self.descriptions[row] for row in chosen.tolist()],
            letters=self.letters[gather],
            offsets=offsets,
            start=self.start,
            qualities=None if self.qualities is None else self.qualities[gather],
        )

    def keep(self, letters: NDArray[np.bool_]) -> SequenceBlock:
        """The same records with some of their letters alone; ``letters`` is ``(r,)``."""
        if letters.all():
            return self
        before = np.concatenate([[0], np.cumsum(letters)])
        return SequenceBlock(
            names=self.names,
            descriptions=self.descriptions,
            letters=self.letters[letters],
            offsets=before[self.offsets],
            start=self.start,
            qualities=None if self.qualities is None else self.qualities[letters],
        )

    def part(self, first: int, last: int) -> SequenceBlock:
        """Records ``first`` to ``last`` as a view; nothing is copied.

        Parameters
        ----------
        first, last
            Records, ``last`` not included.
        """
        span = slice(int(self.offsets[first]), int(self.offsets[last]))
        return SequenceBlock(
            names=self.names[first:last],
            descriptions=self.descriptions[first:last],
            letters=self.letters[span],
            offsets=self.offsets[first : last + 1] - self.offsets[first],
            start=self.start + first,
            qualities=None if self.qualities is None else self.qualities[span],
        )


class SequenceSource(Protocol):
    """An open sequence file, read in blocks from its beginning. Use as a context manager.

    Attributes
    ----------
    path
        The file; None for the standard input.
    kind
        ``fasta``, ``fastq``, ``genbank``, ``embl`` or ``swiss``.
    """

    path: Path | None
    kind: str

    def blocks(self, *, records: int = 8192, residues: int = 1 << 22) -> Iterator[SequenceBlock]:
        """All records in order, at most ``records`` and ``residues`` a block.

        A record longer than ``residues`` makes a block of its own.

        Parameters
        ----------
        records
            Most records of a block.
        residues
            Most residues or bases of a block; a longer record is a block of its own.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...

    def __enter__(self) -> SequenceSource: ...

    def __exit__(self, *error: object) -> None: ...


def concatenate_blocks(blocks: Sequence[SequenceBlock]) -> SequenceBlock:
    """Consecutive blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        return SequenceBlock.of([])
    scores = [block.qualities for block in blocks if block.qualities is not None]
    return SequenceBlock(
        names=[name for block in blocks for name in block.names],
        descriptions=[text for block in blocks for text in block.descriptions],
        letters=np.concatenate([block.letters for block in blocks]),
        offsets=_offsets(np.concatenate([block.lengths for block in blocks])),
        start=blocks[0].start,
        qualities=np.concatenate(scores) if len(scores) == len(blocks) else None,
    )


def _offsets(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
