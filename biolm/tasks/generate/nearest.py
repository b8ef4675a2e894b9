"""The most similar record of a reference, to see whether a generated sequence is a copy of one.

Candidates share the most k-mers; the best of them are aligned. Long records, such as chromosomes, are cut
into pieces that overlap, and DNA is looked for on both strands.

Dimensions: ``r`` letters of the reference · ``m`` k-mers of it · ``p`` pieces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences.clusters import words_of
from biolm.errors import InputError
from biolm.io.sequences import SequenceBlock
from biolm.io.sequences.letters import reverse_complement, upper

__all__ = ["Reference"]

_K = {True: 5, False: 11}  # letters of a k-mer: residues, bases
_CANDIDATES = 5
_PIECE, _STEP = 8192, 4096
_MOST = 200_000_000  # letters; each costs some 16 bytes


class Reference:
    """Records that can be searched.

    Parameters
    ----------
    block
        The records.
    protein
        Whether they are proteins.

    Raises
    ------
    InputError
        If there are more letters than can be held.

    Examples
    --------
    >>> block = SequenceBlock.of(["MKVLAAGIVGLLLAGCSSNA", "MSTNPKPQRKTKRNTNRRPQ"], ["one", "two"])
    >>> Reference(block, protein=True).nearest("MKVLAAGIVGWLLAGCSSNA")
    ('one', 0.95)
    """

    def __init__(self, block: SequenceBlock, *, protein: bool) -> None:
        total = int(block.offsets[-1])
        if total > _MOST:
            raise InputError(
                f"the reference has {total:,} residues or bases, but at most {_MOST:,} are searched; give "
                "a part of it"
            )
        self.protein = protein
        self._names = block.names
        self._pieces, self._owners = _cut(upper(block))
        words, piece = words_of(self._pieces, _K[protein], protein=protein)
        order = np.argsort(words, kind="stable")
        self._words, self._piece = words[order], piece[order]
        self._aligner = _aligner(protein=protein)

    def nearest(self, text: str) -> tuple[str, float]:
        """Name of the most similar record, and the fraction of ``text`` that is the same in it.

        ``("", 0.0)`` if none shares a k-mer.
        """
        query = upper(SequenceBlock.of([text]))
        best, name = 0.0, ""
        for piece in self._candidates(query):
            span = slice(*self._pieces.offsets[piece : piece + 2])
            identity = self._identity(query.letters, self._pieces.letters[span])
            # Greater, not equal: of two records alike the first in the file is named.
            if identity > best:
                best, name = identity, self._names[int(self._owners[piece])]
        return name, best

    def _candidates(self, query: SequenceBlock) -> list[int]:
        """Pieces that share the most k-mers, the first of equals first."""
        # Each word once: a repeat in the query would outvote the rest of it.
        words = np.unique(words_of(query, _K[self.protein], protein=self.protein)[0])
        low, high = (np.searchsorted(self._words, words, side=side) for side in ("left", "right"))
        hits = [
            np.unique(self._piece[a:b]) for a, b in zip(low.tolist(), high.tolist(), strict=True) if b > a
        ]
        if not hits:
            return []
        pieces, shared = np.unique(np.concatenate(hits), return_counts=True)
        chosen: list[int] = pieces[np.argsort(-shared, kind="stable")[:_CANDIDATES]].tolist()
        return chosen

    def _identity(self, query: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
        """Fraction of the query's letters that are aligned to the same, on the better strand."""
        shares = []
        for strand in [query] if self.protein else [query, reverse_complement(query)]:
            alignment = self._aligner.align(_known(target, self.protein), _known(strand, self.protein))[0]
            same = sum(
                int((target[a:b] == strand[c:d]).sum())
                for (a, b), (c, d) in zip(*alignment.aligned.tolist(), strict=True)
            )
            # Over the query's length: a fragment that is copied whole is a copy.
            shares.append(same / len(query))
        return max(shares)


def _cut(block: SequenceBlock) -> tuple[SequenceBlock, NDArray[np.int64]]:
    """Pieces of bounded length, and ``(p,)`` the record of each."""
    if block.lengths.max(initial=0) <= _PIECE:
        return block, np.arange(len(block))
    spans, owners = [], []
    for row, (start, end) in enumerate(
        zip(block.offsets[:-1].tolist(), block.offsets[1:].tolist(), strict=True)
    ):
        # Pieces overlap by half, so that any query of up to that length lies in one of them whole.
        for first in range(start, max(end - _STEP, start + 1), _STEP):
            spans.append(block.letters[first : min(first + _PIECE, end)])
            owners.append(row)
    offsets = np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64)
    names = [block.names[row] for row in owners]
    return SequenceBlock(names, [""] * len(spans), np.concatenate(spans), offsets), np.array(owners)


def _aligner(*, protein: bool) -> Any:
    """Global alignment in which ends may stick out; BLOSUM62 for proteins, as BLASTP scores gaps."""
    from Bio import Align

    # Biopython says nothing of the types of its aligner.
    tools: Any = Align
    if protein:
        matrix = tools.substitution_matrices.load("BLOSUM62")
        aligner = tools.PairwiseAligner(
            mode="global", substitution_matrix=matrix, open_gap_score=-11, extend_gap_score=-1
        )
    else:
        aligner = tools.PairwiseAligner(
            mode="global", match_score=2, mismatch_score=-3, open_gap_score=-5, extend_gap_score=-2
        )
    # A generated sequence may be a part of a record, or begin before it.
    aligner.end_gap_score = 0
    return aligner


def _known(letters: NDArray[np.uint8], protein: bool) -> str:
    """Text for the aligner: residues that BLOSUM62 does not hold, such as U, are X."""
    text = letters.tobytes().decode("ascii", "replace")
    if not protein:
        return text
    known = set("ACDEFGHIKLMNPQRSTVWYBZX*")
    return "".join(letter if letter in known else "X" for letter in text)
