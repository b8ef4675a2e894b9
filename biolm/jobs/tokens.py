"""Tokenising by blocks: what a source and the torch-free half of a model give for each kind of data.

Dimensions: ``n`` rows of a block · ``t`` tokens of a block · ``k`` blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.batch import Tokens
from biolm.errors import ConfigError
from biolm.io.cells import CellBlock, CellSource
from biolm.io.cells.unread import unread_blocks
from biolm.io.provenance import digest, plain, stamp
from biolm.io.sequences import SequenceBlock
from biolm.io.token_store import VOCABULARY
from biolm.jobs.bind import bind_genes
from biolm.jobs.job import block_ends
from biolm.progress import log
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from biolm.adapters.sequences.file import SequenceFile

__all__ = ["CellTokens", "SequenceTokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTokens:
    """Cells and a tokeniser that fit each other.

    Parameters
    ----------
    source
        The open cells.
    preprocessor
        What tokenises, a model or its torch-free half.
    match
        Where each gene of the source goes.
    settings
        Choices of the job: ``workers``, ``block_rows``, ``seed``.
    names
        Of all cells.
    """

    source: CellSource
    preprocessor: Any
    match: GeneMatch
    settings: Any
    names: NDArray[np.str_]

    @classmethod
    def of(cls, source: CellSource, preprocessor: Any, settings: Any) -> CellTokens:
        """Match the genes.

        Parameters
        ----------
        source
            Open cells.
        preprocessor
            Of the model.
        settings
            How cells are read.

        Raises
        ------
        InputError, GeneMatchError
            If the cells do not fit the tokeniser.
        """
        match = bind_genes(source, preprocessor, settings)
        return cls(
            source=source,
            preprocessor=preprocessor,
            match=match,
            settings=settings,
            names=source.cell_names(),
        )

    @property
    def ends(self) -> NDArray[np.int64]:
        """``(k + 1,)`` cells at which blocks begin and end."""
        return block_ends(self.source.n_cells, self.settings.block_rows)

    @property
    def facts(self) -> dict[str, Any]:
        """Where the tokens come from, as plain values."""
        metadata: dict[str, Any] = plain(
            {
                "model": self.preprocessor.name,
                VOCABULARY: getattr(
                    getattr(self.preprocessor, "preprocessor", self.preprocessor), "fingerprint", None
                ),
                "biolm_version": biolm.__version__,
                "genes": self.match.report.as_dict(),
                "matrix": self.source.matrix,
                "seed": self.settings.seed,
            }
        )
        return metadata

    def same(self) -> dict[str, Any]:
        """What was read."""
        from biolm.jobs.cells import input_facts

        return input_facts(self.source)

    def blocks(self, first: int, last: int) -> Iterator[CellBlock]:
        """The blocks ``first`` to ``last``."""
        step = self.settings.block_rows
        return unread_blocks(self.source, step, first * step, min(last * step, self.source.n_cells))

    def tokens(self, block: CellBlock) -> Tokens:
        """Packed tokens of one block."""
        from biolm.adapters.cells import in_threads

        def tokenized(part: CellBlock) -> Tokens:
            tokens: Tokens = self.preprocessor.tokenize(part, self.match, seed=self.settings.seed)
            return tokens

        return in_threads(tokenized, block, self.settings.workers)

    def names_of(self, block: CellBlock) -> NDArray[np.str_]:
        """``(n,)``."""
        return self.names[block.start : block.start + len(block)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceTokens:
    """Sequences and a tokeniser that fit each other.

    Parameters
    ----------
    source
        The file.
    preprocessor
        What tokenises, a model or its torch-free half.
    settings
        Choices of the job: ``letters``, ``block_rows``.
    ends
        ``(k + 1,)`` records at which blocks begin and end.
    tally
        Residues or bases that the model does not know.
    digest
        Of the names of all records.
    """

    source: SequenceFile
    preprocessor: Any
    settings: Any
    ends: NDArray[np.int64]
    tally: Any
    digest: str

    @classmethod
    def of(cls, source: SequenceFile, preprocessor: Any, settings: Any) -> SequenceTokens:
        """Look through the file.

        Raises
        ------
        InputError, ConfigError
            If it is not of the kind that the tokeniser reads, or more than one worker is asked for.
        """
        from biolm.adapters.sequences import Tally, check_kind

        if settings.workers != 1:
            raise ConfigError("workers are for tables of cells; leave the option out for sequences")
        tally, names, ends = Tally(), [], [0]
        for block in source.blocks(settings, settings.block_rows, preprocessor.tokenizer, tally):
            if not block.start:
                check_kind(block, preprocessor.kind, name=source.label)
            tokens = preprocessor.tokenize(block, policy=settings.letters, tally=tally)
            names += block.names
            # Records that the policy skips have no row, so the ends are known only after a look at all.
            ends.append(ends[-1] + len(tokens))
        if sentence := tally.sentence():
            log.warning("%s", sentence)
        return cls(
            source=source,
            preprocessor=preprocessor,
            settings=settings,
            ends=np.array(ends, np.int64),
            tally=tally,
            digest=digest({"names": np.array(names, str)}),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Where the tokens come from, as plain values."""
        tokenizer = self.preprocessor.tokenizer
        metadata: dict[str, Any] = plain(
            {
                "model": self.preprocessor.name,
                "biolm_version": biolm.__version__,
                "tokenizer": tokenizer.family,
                "letters": self.settings.letters,
                **self.tally.as_dict(),
            }
        )
        return metadata

    def same(self) -> dict[str, Any]:
        """What was read."""
        return {"stamp": stamp(self.source.path), "names": self.digest, "records": int(self.ends[-1])}

    def blocks(self, first: int, last: int) -> Iterator[SequenceBlock]:
        """The blocks ``first`` to ``last``; a file is read from its beginning."""
        whole = self.source.blocks(self.settings, self.settings.block_rows, self.preprocessor.tokenizer)
        return islice(whole, first, last) if first < last else iter(())

    def tokens(self, block: SequenceBlock) -> Tokens:
        """Packed tokens of one block, without records that the policy skips."""
        tokens: Tokens = self.preprocessor.tokenize(block, policy=self.settings.letters)
        return tokens

    def names_of(self, block: SequenceBlock) -> NDArray[np.str_]:
        """Names of the records that have tokens."""
        # Tokenised a second time, for the names alone: keeping them would be a text a record in memory.
        rows = self.tokens(block).index - block.start
        return np.array(block.names, str)[rows]
