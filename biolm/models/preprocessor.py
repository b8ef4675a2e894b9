"""The torch-free half of a published cell system: its genes and how it writes a cell as tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from biolm.batch import Tokens
from biolm.io.cells.block import CellBlock, CellSource
from biolm.io.provenance import digest
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

__all__ = ["CellPreprocessor", "Tokenizer", "find_file"]


class Tokenizer(Protocol):
    """Turns a block of cells into packed tokens."""

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Packed tokens of a block of cells."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPreprocessor:
    """What is needed to write cells as a system reads them, without its weights.

    Parameters
    ----------
    name
        Names the system.
    vocabulary
        The genes it knows.
    tokenizer
        Turns blocks of cells into tokens.
    special
        Tokens before and after the genes, which pooling over genes leaves out.
    files
        What it was read from, for the checkpoint's hash.
    wants_counts
        Whether it was defined on raw counts.
    published
        How the published system looks up genes; None for biolm's own.
    """

    modality: ClassVar[str] = "cells"
    instead: ClassVar[str] = ""
    name: str
    vocabulary: GeneVocabulary
    tokenizer: Tokenizer
    special: tuple[int, int] = (0, 0)
    files: tuple[Path, ...] = ()
    wants_counts: bool = True
    published: PublishedRule | None = None

    @property
    def n_genes(self) -> int:
        """How many genes it knows."""
        return len(self.vocabulary.genes)

    @property
    def fingerprint(self) -> str | None:
        """Hash of which gene has which token; None where genes have no tokens of their own."""
        token_ids = getattr(self.tokenizer, "token_ids", None)
        if token_ids is None:
            return None
        return digest(dict(zip(self.vocabulary.genes, map(int, token_ids), strict=True)))

    def read_context(self, source: CellSource) -> None:
        """Take from a file what the tokeniser reads of each cell beside its counts, such as its assay.

        Raises
        ------
        InputError
            If a column is missing, or holds a value that the system does not know.
        """
        read = getattr(self.tokenizer, "read_context", None)
        if read is not None:
            read(source)

    def tokenize(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Packed tokens of a block of cells, row numbers in ``index``.

        Parameters
        ----------
        block
            Cells.
        match
            Their genes in the vocabulary.
        seed
            Of what is drawn, together with the number of the cell.
        """
        return self.tokenizer(block, match, seed=seed)


def find_file(folders: list[Path], accept: Callable[[str], bool]) -> Path | None:
    """The first file, by folder and then by name, whose name is accepted.

    Parameters
    ----------
    folders
        In order.
    accept
        Whether a name is meant.
    """
    for folder in folders:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.is_file() and accept(path.name):
                    return path
    return None
