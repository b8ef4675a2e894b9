"""One letter, one token: residues, single bases and bytes by one look-up table.

Dimensions: ``n`` records of a block · ``r`` letters · ``t`` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences.base import MASKED, Policy, Tally, screen
from biolm.batch import Tokens
from biolm.io.sequences.block import SequenceBlock
from biolm.io.sequences.letters import look_up
from biolm.vocab.residues import ALPHABETS, NONE, Alphabet, Kind, SpecialTokens

__all__ = ["LetterTokenizer", "frame"]


@dataclass(frozen=True)
class LetterTokenizer:
    """Tokens of an alphabet; see :class:`~biolm.adapters.sequences.base.SequenceTokenizer`.

    Parameters
    ----------
    alphabet
        Letters and ids.

    Examples
    --------
    >>> from biolm.vocab.residues import ALPHABETS
    >>> tokenizer = LetterTokenizer(ALPHABETS["esm"])
    >>> tokenizer.tokenize(SequenceBlock.of(["MKV"])).ids.tolist()
    [0, 20, 15, 7, 2]
    """

    alphabet: Alphabet

    family = "letters"
    one_to_one = True
    stride = 1

    @property
    def kind(self) -> Kind:
        """What it reads."""
        return self.alphabet.kind

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Token to id."""
        return self.alphabet.tokens

    @property
    def size(self) -> int:
        """Rows of the embedding."""
        return max(self.alphabet.size, max(self.alphabet.tokens.values()) + 1)

    @property
    def special(self) -> SpecialTokens:
        """Ids that stand for no letter."""
        return self.alphabet.special

    @cached_property
    def _table(self) -> bytes:
        """256 bytes: the id of each letter, and of a masked place."""
        table = bytearray(self.alphabet.table)
        if self.special.mask is not None and self.kind != "text" and table[ord(MASKED)] == NONE:
            table[ord(MASKED)] = self.special.mask
        return bytes(table)

    @cached_property
    def _names(self) -> dict[int, str]:
        return {number: token for token, number in self.alphabet.tokens.items()}

    def tokenize(
        self, block: SequenceBlock, *, policy: Policy = "unknown", tally: Tally | None = None
    ) -> Tokens:
        """Packed tokens of a block.

        Raises
        ------
        InputError
            For a letter outside an alphabet that has no token for unknown letters, unless records with such
            letters are skipped.
        """
        ids = look_up(block.letters, self._table)
        illegal = ids == NONE
        numbers = np.arange(block.start, block.start + len(block), dtype=np.int64)
        # Without a token for unknown letters there is nothing that they could be read as.
        strict = policy == "unknown" and self.special.unknown is None
        kept = screen(block, illegal, "error" if strict else policy, tally)
        if kept is not None:
            block, numbers = block.take(kept), numbers[kept]
            ids = look_up(block.letters, self._table)
        elif self.special.unknown is not None:
            ids = np.where(illegal, np.uint8(self.special.unknown), ids)
        return frame(ids, block.offsets, numbers, self.special)

    def spans(
        self,
        block: SequenceBlock,  # noqa: ARG002  # tokens of other families need the letters
        tokens: Tokens,
    ) -> NDArray[np.int64]:
        """``(t, 2)`` letters of each token."""
        before, lengths = len(self.special.prefix), tokens.lengths
        inner = np.repeat(lengths - before - len(self.special.suffix), lengths)
        place = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], lengths) - before
        return np.stack([place.clip(0, inner), (place + 1).clip(0, inner)], axis=1)

    def decode(self, ids: NDArray[np.integer[Any]]) -> str:
        """Letters of ids."""
        hidden = {*self.special.prefix, *self.special.suffix, *self.special.others, self.special.pad}
        return "".join(self._names[number] for number in ids.tolist() if number not in hidden)

    def settings(self) -> dict[str, Any]:
        """Plain values that make it again."""
        chosen = self.alphabet
        if ALPHABETS.get(chosen.name) == chosen:
            return {"family": self.family, "alphabet": chosen.name}
        # One that was read from a checkpoint is known by its content alone.
        values = {each.name: getattr(chosen, each.name) for each in fields(chosen)}
        content = {**values, "tokens": dict(chosen.tokens), "replace": dict(chosen.replace)}
        special = {
            name: list(ids) if isinstance(ids, tuple) else ids for name, ids in asdict(chosen.special).items()
        }
        return {"family": self.family, "alphabet": {**content, "special": special}}


def frame(
    ids: NDArray[np.integer[Any]],
    offsets: NDArray[np.int64],
    numbers: NDArray[np.int64],
    special: SpecialTokens,
) -> Tokens:
    """Put prefix and suffix around every sequence.

    Parameters
    ----------
    ids
        Tokens of all sequences end to end, without special ones.
    offsets
        ``(n + 1,)`` where each begins.
    numbers
        ``(n,)`` numbers of the records.
    special
        What to put around them.
    """
    before, after = len(special.prefix), len(special.suffix)
    if not before + after:
        return Tokens(ids=ids.astype(np.int32), offsets=offsets, index=numbers)
    framed = offsets + np.arange(len(offsets)) * (before + after)
    result = np.empty(framed[-1], np.int32)
    inside = np.ones(framed[-1], bool)
    for place, token in enumerate(special.prefix):
        result[framed[:-1] + place] = token
        inside[framed[:-1] + place] = False
    for place, token in enumerate(special.suffix):
        result[framed[1:] - after + place] = token
        inside[framed[1:] - after + place] = False
    result[inside] = ids
    return Tokens(ids=result, offsets=framed, index=numbers)
