"""K-mers as tokens: side by side (Nucleotide Transformer) or overlapping (DNABERT), without a loop.

Dimensions: ``n`` records of a block · ``r`` letters · ``c`` runs of bases and single other letters · ``t``
tokens.

Side by side, a record is read from its left; N and unknown letters break it into runs, each run is cut into
k-mers, and what is left of a run is read base by base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences.base import Policy, Tally, screen
from biolm.adapters.sequences.letters import frame
from biolm.batch import Tokens
from biolm.io.sequences.block import SequenceBlock
from biolm.io.sequences.letters import look_up
from biolm.vocab.kmers import KmerVocabulary
from biolm.vocab.residues import NONE, Kind, SpecialTokens

__all__ = ["KmerTokenizer"]


@dataclass(frozen=True)
class KmerTokenizer:
    """Tokens of k-mers; see :class:`~biolm.adapters.sequences.base.SequenceTokenizer`.

    Parameters
    ----------
    words
        K-mers and ids.
    overlapping
        Whether a k-mer begins at every base. K-mers with any other letter are then unknown.

    Examples
    --------
    >>> tokenizer = KmerTokenizer(KmerVocabulary(layout="nt-v1", k=6))
    >>> tokenizer.tokenize(SequenceBlock.of(["AAAAAAAAAAAT" "NG"])).ids.tolist()
    [3, 4, 5, 4104, 4103]
    """

    words: KmerVocabulary
    overlapping: bool = False

    family = "kmers"
    one_to_one = False
    kind: Kind = "dna"

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Token to id."""
        return self.words.tokens

    @property
    def size(self) -> int:
        """Rows of the embedding."""
        return self.words.size

    @property
    def special(self) -> SpecialTokens:
        """Ids that stand for no letter."""
        return self.words.special

    @property
    def stride(self) -> int:
        """Letters of a token."""
        return 1 if self.overlapping else self.words.k

    @cached_property
    def _names(self) -> dict[int, str]:
        return {number: token for token, number in self.words.tokens.items()}

    @cached_property
    def _illegal(self) -> bytes:
        """256 bytes: 1 for letters that are neither bases nor tokens of their own."""
        bases = np.frombuffer(self.words.codes, np.uint8) != NONE
        illegal: NDArray[np.bool_] = ~bases & (self.words.singles == self.special.unknown)
        return illegal.tobytes()

    def tokenize(
        self, block: SequenceBlock, *, policy: Policy = "unknown", tally: Tally | None = None
    ) -> Tokens:
        """Packed tokens of a block."""
        numbers = np.arange(block.start, block.start + len(block), dtype=np.int64)
        kept = screen(block, look_up(block.letters, self._illegal).view(bool), policy, tally)
        if kept is not None:
            block, numbers = block.take(kept), numbers[kept]
        ids, offsets = self._overlap(block) if self.overlapping else self._side_by_side(block)
        return frame(ids, offsets, numbers, self.special)

    def spans(
        self,
        block: SequenceBlock,  # noqa: ARG002  # tokens of other families need the letters
        tokens: Tokens,
    ) -> NDArray[np.int64]:
        """``(t, 2)`` letters of each token."""
        before, after, k = len(self.special.prefix), len(self.special.suffix), self.words.k
        lengths = tokens.lengths
        place = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], lengths)
        inner = (place >= before) & (place < np.repeat(lengths - after, lengths))
        if self.overlapping:
            last = np.repeat(lengths - before - after, lengths)
            last = np.where(last > 0, last + k - 1, 0)
            start = (place - before).clip(0, last)
            return np.stack([start, np.minimum(start + k * inner, last)], axis=1)
        is_word = (tokens.ids >= self.words.first) & (tokens.ids < self.words.first + 4**k)
        ends = np.cumsum(np.where(inner, np.where(is_word, k, 1), 0))
        origin = np.repeat(np.concatenate([[0], ends])[tokens.offsets[:-1]], lengths)
        width = np.diff(ends, prepend=0)
        return np.stack([ends - width - origin, ends - origin], axis=1)

    def decode(self, ids: NDArray[np.integer[Any]]) -> str:
        """Letters of ids."""
        first = self.words.first
        unknown = self.special.unknown
        assert unknown is not None
        tokens = [self._names[number] for number in ids.tolist() if number >= first or number == unknown]
        if not self.overlapping or not tokens:
            return "".join(tokens)
        bases = np.full(len(tokens) + self.words.k - 1, "N")
        for place, token in enumerate(tokens):
            if token != self._names[unknown]:
                bases[place : place + self.words.k] = list(token)
        return "".join(bases.tolist())

    def settings(self) -> dict[str, Any]:
        """Plain values that make it again."""
        return {
            "family": self.family,
            "layout": self.words.layout,
            "k": self.words.k,
            "overlapping": self.overlapping,
        }

    def _side_by_side(self, block: SequenceBlock) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """``(t,)`` ids and ``(n + 1,)`` where each record begins among them."""
        k, words = self.words.k, self.words
        codes = look_up(block.letters, words.codes)  # (r,)
        other = np.flatnonzero(codes == NONE)
        # A letter without a base ends a run: published tokenisers begin k-mers anew behind an N.
        cuts = np.unique(np.concatenate([block.offsets, other, other + 1]))
        starts, lengths = cuts[:-1], np.diff(cuts)  # (c,)
        n_words = np.where(codes[starts] == NONE, 0, lengths // k)
        counts = n_words + lengths - k * n_words
        first = np.concatenate([[0], np.cumsum(counts)])
        # K-mers of a run lie k letters apart, what is left of it one by one.
        word = first[:-1] + n_words
        letter = np.repeat(starts - k * first[:-1], counts)
        letter += k * np.arange(first[-1])
        alone = _ranges(word, first[1:])
        letter[alone] = np.repeat(starts + k * n_words - word, counts - n_words) + alone
        ids = words.first + _words(codes, k, letter, alone)
        ids[alone] = words.singles[block.letters[letter[alone]]]
        return ids, first[np.searchsorted(cuts, block.offsets)].astype(np.int64)

    def _overlap(self, block: SequenceBlock) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """As :meth:`_side_by_side`, a k-mer from every base on."""
        k = self.words.k
        codes = look_up(block.letters, self.words.codes)
        counts = (block.lengths - k + 1).clip(0)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        whole = np.ones(len(codes), bool)
        whole[_ranges(block.offsets[:-1] + counts, block.offsets[1:])] = False
        values = np.zeros(len(codes), np.int32)
        known = np.ones(len(codes), bool)
        for place in range(k):
            end = len(codes) - place
            values <<= 2
            values[:end] += codes[place:]
            known[:end] &= codes[place:] != NONE
        ids = self.words.first + values
        assert self.special.unknown is not None
        ids[~known] = self.special.unknown
        return ids[whole], offsets


def _ranges(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from each start to its end, end to end."""
    counts = ends - starts
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())


def _words(
    codes: NDArray[np.uint8], k: int, start: NDArray[np.int64], alone: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Numbers in base 4 of the k-mers that begin at ``start``; those ``alone`` are left 0.

    Numbers of 2, 4 and 8 neighbouring bases are made for all places by adding shifted copies, which is
    faster than picking single bases.
    """
    tables: dict[int, NDArray[np.unsignedinteger[Any]]] = {1: codes}
    width = 1
    while 2 * width <= k:
        half = tables[width]
        table: NDArray[np.unsignedinteger[Any]] = half.astype(np.uint8 if width < 4 else np.uint16)
        table <<= 2 * width
        table[: len(half) - width] += half[width:]
        tables[2 * width] = table
        width *= 2
    begin = start.copy()
    begin[alone] = 0
    values = np.zeros(len(start), np.int32)
    place = 0
    for width in sorted(tables, reverse=True):
        if place + width <= k:
            values <<= 2 * width
            values += tables[width][np.minimum(begin + place, len(codes) - 1)]
            place += width
    values[alone] = 0
    return values
