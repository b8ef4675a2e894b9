"""A file of sequences as jobs read it: in blocks, cleaned for a tokeniser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biolm.adapters.sequences import SequenceTokenizer, Tally, cleaned
from biolm.io.sequences import SequenceBlock, open_sequences

__all__ = ["SequenceFile"]

# Residues read at a time. Every token of a block has its vector in memory where one is asked for.
_LETTERS, _LETTERS_BY_TOKEN = 1 << 22, 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceFile:
    """A file of sequences that may be read more than once.

    Parameters
    ----------
    path
        Where it lies.
    label
        Names it in messages.
    """

    path: Path
    label: str

    def blocks(
        self, settings: Any, records: int, tokenizer: SequenceTokenizer, tally: Tally | None = None
    ) -> Iterator[SequenceBlock]:
        """The records, cleaned, in blocks that are the same in every run.

        Parameters
        ----------
        settings
            Choices of the job: ``block_rows`` and, where it has one, ``per_residue``.
        records
            Records of a block where the settings do not say.
        tokenizer
            What reads them.
        tally
            Counts what is dropped.
        """
        most = _LETTERS_BY_TOKEN if getattr(settings, "per_residue", False) else _LETTERS
        with open_sequences(self.path, label=self.label) as source:
            for block in source.blocks(records=settings.block_rows or records, residues=most):
                yield cleaned(block, tokenizer, tally)
