"""What every tokeniser of sequences offers, and how letters it does not know are dealt with.

Dimensions: ``n`` records of a block · ``r`` letters of all of them · ``t`` tokens of all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError
from biolm.io.sequences.block import SequenceBlock
from biolm.vocab.residues import Kind, SpecialTokens

__all__ = ["MASKED", "POLICIES", "Policy", "SequenceTokenizer", "Tally", "check_policy", "screen"]

Policy = Literal["error", "unknown", "skip"]
POLICIES = ("error", "unknown", "skip")
"""What may be done with residues or bases that have no token."""

MASKED = "_"
"""Stands for a masked place, in models with a mask for single letters."""


def check_policy(letters: str) -> None:
    """Refuse any other word.

    Raises
    ------
    ConfigError
        If it is none of :data:`POLICIES`.
    """
    if letters not in POLICIES:
        raise ConfigError(f"letters must be one of {', '.join(POLICIES)}, not {letters!r}")


@dataclass(slots=True)
class Tally:
    """What was met in the letters of a file that is not simply read, counted over its blocks.

    Parameters
    ----------
    letters
        How often each letter without a token was met.
    records
        Records that hold one.
    skipped
        Records that were left out for it.
    stops, gaps, marks
        Stops at ends of proteins, gaps, and marks of a tokeniser that were taken out.
    masked
        Places that the file masks.
    """

    letters: Counter[str] = field(default_factory=Counter)
    records: int = 0
    skipped: int = 0
    stops: int = 0
    gaps: int = 0
    marks: int = 0
    masked: int = 0

    def sentence(self) -> str:
        """What to tell the user; '' if every letter was read as it is."""
        notes = []
        taken = {"final stops (*)": self.stops, "gaps (- and .)": self.gaps, "marks of ends": self.marks}
        if parts := [f"{count:,} {what}" for what, count in taken.items() if count]:
            notes.append(f"taken out: {', '.join(parts)}")
        if self.letters:
            named = ", ".join(f"{letter!r} {count:,}" for letter, count in self.letters.most_common(6))
            done = f"{self.skipped:,} left out" if self.skipped else "read as unknown"
            notes.append(
                f"{self.records:,} records hold residues or bases that the model does not know ({named}); "
                f"{done}"
            )
        return "; ".join(notes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the record of a result."""
        return {
            "skipped": self.skipped,
            "with_unknown_letters": self.records,
            "unknown_letters": dict(self.letters),
            "final_stops": self.stops,
            "gaps": self.gaps,
            "end_marks": self.marks,
            "masked_places": self.masked,
        }


class SequenceTokenizer(Protocol):
    """Turns blocks of sequences into packed tokens by look-up tables.

    Attributes
    ----------
    kind
        ``protein``, ``dna`` or ``text``: what it reads.
    family
        ``letters``, ``kmers`` or ``bpe``.
    vocabulary
        Token to id, special tokens included.
    size
        Rows of the embedding.
    special
        Ids of special tokens; ``special.prefix`` and ``special.suffix`` surround every sequence.
    one_to_one
        Whether each letter is one token between prefix and suffix.
    stride
        Letters that a token stands for, about: a piece of ``k * stride`` letters makes some ``k`` tokens.
    """

    @property
    def kind(self) -> Kind:
        """``protein``, ``dna`` or ``text``."""
        ...

    @property
    def family(self) -> str:
        """``letters``, ``kmers`` or ``bpe``."""
        ...

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Token to id."""
        ...

    @property
    def size(self) -> int:
        """Rows of the embedding."""
        ...

    @property
    def special(self) -> SpecialTokens:
        """Ids that stand for no letter."""
        ...

    @property
    def one_to_one(self) -> bool:
        """Whether each letter is one token."""
        ...

    @property
    def stride(self) -> int:
        """Letters of a token, about."""
        ...

    def tokenize(
        self, block: SequenceBlock, *, policy: Policy = "unknown", tally: Tally | None = None
    ) -> Tokens:
        """Packed tokens, special ones included; ``index`` holds the numbers of records in the file.

        Parameters
        ----------
        block
            Records, as read.
        policy
            For letters without a token: ``error`` stops, ``unknown`` reads them as the unknown token,
            ``skip`` leaves the record out.
        tally
            Counts such letters.
        """
        ...

    def spans(self, block: SequenceBlock, tokens: Tokens) -> NDArray[np.int64]:
        """``(t, 2)`` first letter and end, in its own record, of what each token stands for.

        Special tokens span nothing: (0, 0) before and (length, length) after the letters.

        Parameters
        ----------
        block
            The records.
        tokens
            What :meth:`tokenize` made of them.
        """
        ...

    def decode(self, ids: NDArray[np.integer[Any]]) -> str:
        """The letters that ids stand for; special tokens are left out, unknown ones written in brackets."""
        ...

    def settings(self) -> dict[str, Any]:
        """Plain values from which :func:`~biolm.adapters.sequences.make_tokenizer` makes it again."""
        ...


def screen(
    block: SequenceBlock, illegal: NDArray[np.bool_], policy: Policy, tally: Tally | None
) -> NDArray[np.intp] | None:
    """Deal with residues or bases that have no token.

    Parameters
    ----------
    block
        Records.
    illegal
        ``(r,)`` which letters have no token.
    policy, tally
        As of :meth:`SequenceTokenizer.tokenize`.

    Returns
    -------
    Records to keep, None for all.

    Raises
    ------
    InputError
        With ``error``, if there is one; the first is named.
    """
    places = np.flatnonzero(illegal)
    if not len(places):
        return None
    rows = np.searchsorted(block.offsets, places, side="right") - 1
    if policy == "error":
        letter, row = chr(block.letters[places[0]]), int(rows[0])
        raise InputError(
            f"letter {letter!r} at place {places[0] - block.offsets[row] + 1} of record {block.names[row]!r} "
            "is not of the model's alphabet; correct it, read it as unknown (`letters='unknown'`) or leave "
            "its record out (`letters='skip'`)"
        )
    touched = np.unique(rows)
    if tally is not None:
        counts = np.bincount(block.letters[places], minlength=256)
        tally.letters.update({chr(code): int(counts[code]) for code in np.flatnonzero(counts).tolist()})
        tally.records += len(touched)
        tally.skipped += len(touched) if policy == "skip" else 0
    return np.setdiff1d(np.arange(len(block)), touched) if policy == "skip" else None
