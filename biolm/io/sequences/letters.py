"""What can be done to letters before they are read: strands, soft masks, gaps.

Dimensions: ``r`` letters.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from biolm.io.sequences.block import SequenceBlock

__all__ = ["look_up", "reverse_complement", "upper", "without"]

# IUPAC codes and their complements; U pairs as T does, and a complement is written as DNA.
_CODES = b"ACGTURYSWKMBDHVN"
_PAIRS = b"TGCAAYRSWMKVHDBN"


def look_up(letters: NDArray[np.uint8], table: bytes) -> NDArray[np.uint8]:
    """``(r,)`` what a table of 256 bytes says of each letter; twice as fast as indexing an array.

    Parameters
    ----------
    letters
        ``(r,)`` bytes.
    table
        256 bytes.

    Examples
    --------
    >>> table = bytes(range(256)).replace(b"U", b"T")
    >>> look_up(np.frombuffer(b"AUG", np.uint8), table).tobytes()
    b'ATG'
    """
    return np.frombuffer(letters.tobytes().translate(table), np.uint8)


@cache
def _complement() -> bytes:
    table = np.arange(256, dtype=np.uint8)
    for code, pair in zip(_CODES, _PAIRS, strict=True):
        # Lower case is 32 further on in ASCII.
        table[code], table[code + 32] = pair, pair + 32
    return table.tobytes()


@cache
def _upper() -> bytes:
    table = np.arange(256, dtype=np.uint8)
    table[ord("a") : ord("z") + 1] -= 32
    return table.tobytes()


def reverse_complement(letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(r,)`` the other strand, IUPAC codes and lower case included.

    Examples
    --------
    >>> reverse_complement(np.frombuffer(b"AACGTR", np.uint8)).tobytes()
    b'YACGTT'
    """
    return look_up(letters[::-1], _complement())


def upper(block: SequenceBlock) -> SequenceBlock:
    """The same records in upper case."""
    return _with(block, look_up(block.letters, _upper()))


def without(block: SequenceBlock, letters: str = "-.") -> SequenceBlock:
    """The same records without some letters: gaps by default; qualities go along.

    Parameters
    ----------
    block
        The records.
    letters
        That are taken out.

    Examples
    --------
    >>> without(SequenceBlock.of(["MK--V", "A*"]), "-*").text(0)
    'MKV'
    """
    gone = np.zeros(256, bool)
    gone[list(letters.encode("ascii"))] = True
    return block.keep(~gone[block.letters])


def _with(block: SequenceBlock, letters: NDArray[np.uint8]) -> SequenceBlock:
    return SequenceBlock(
        block.names, block.descriptions, letters, block.offsets, block.start, block.qualities
    )
