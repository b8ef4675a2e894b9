"""Examples by number: cells tokenised as they are read, or stored tokens behind a memory map.

Dimensions: ``n`` examples of the whole data set · ``t`` tokens · ``v`` vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import concatenate
from biolm.batch import Tokens
from biolm.errors import InputError
from biolm.io.atomic import replacing
from biolm.io.cells import CellSource, open_cells
from biolm.io.tokens import read_tokens
from biolm.models.cell_language import CellLanguage
from biolm.vocab.match import GeneMatch

__all__ = ["CellExamples", "Examples", "StoredExamples", "Survey", "survey"]


class Examples(Protocol):
    """What a loader needs of the data."""

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the examples ``rows`` (ascending); ``index`` holds their numbers."""
        ...

    def blocks(self) -> Iterator[Tokens]:
        """All examples in order, in bounded memory."""
        ...

    def at(self, epoch: int) -> Examples:
        """The examples as an epoch sees them; the same in all unless they are cut anew."""
        ...


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over the examples tells.

    Parameters
    ----------
    lengths
        ``(n,)`` tokens of each.
    held_out
        ``(n,)`` whether it is for validation.
    """

    lengths: NDArray[np.int64]
    held_out: NDArray[np.bool_]


def survey(examples: Examples, vocab_size: int, share: float, seed: int) -> Survey:
    """Look at all examples once.

    Parameters
    ----------
    examples
        The data.
    vocab_size
        ``v``.
    share
        Chance of an example to be held out: a function of the seed and its number.
    seed
        Of the run.

    Raises
    ------
    InputError
        If a token lies outside the vocabulary, or no example is left to train or validate on.
    """
    draws = np.random.Generator(np.random.PCG64([seed, 1]))
    lengths, held = [], []
    for tokens in examples.blocks():
        if len(tokens.ids) and not 0 <= tokens.ids.min() <= tokens.ids.max() < vocab_size:
            raise InputError(
                "the stored tokens do not belong to this vocabulary; give the one they were made with"
            )
        out = draws.random(len(tokens)) < share
        lengths.append(tokens.lengths)
        held.append(out)
    result = Survey(np.concatenate(lengths), np.concatenate(held))
    for what, rows in (("train", ~result.held_out), ("validate", result.held_out)):
        if not (rows & (result.lengths > 0)).any() and (what == "train" or share > 0):
            raise InputError(f"no example is left to {what} on; give more data or another data.validation")
    return result


class CellExamples:
    """Cells of one or more files, numbered through; tokenised when they are read.

    Parameters
    ----------
    files
        Tables of cells.
    matches
        Where each file's genes go.
    language
        Tokeniser.
    matrix
        Which matrix of each file.
    seed
        Of the tokeniser's draws.
    """

    def __init__(
        self, files: list[Path], matches: list[GeneMatch], language: CellLanguage, *, matrix: str, seed: int
    ) -> None:
        self.files, self.matches, self.language = files, matches, language
        self.matrix, self.seed = matrix, seed
        self._open: dict[int, CellSource] = {}
        self._process = os.getpid()
        sizes = [self._source(number).n_cells for number in range(len(files))]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def _source(self, number: int) -> CellSource:
        """An open file; each process opens its own, as HDF5 handles do not survive a fork."""
        if self._process != os.getpid():
            self._open, self._process = {}, os.getpid()
        if number not in self._open:
            self._open[number] = open_cells(self.files[number], matrix=self.matrix)
        return self._open[number]

    def close(self) -> None:
        """Close the files of this process."""
        for source in self._open.values():
            source.close()
        self._open = {}

    def at(self, epoch: int) -> Examples:  # noqa: ARG002  # the same in every epoch
        """These examples."""
        return self

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the cells ``rows`` (ascending)."""
        file = np.searchsorted(self.starts, rows, side="right") - 1
        cuts = np.flatnonzero(np.diff(file)) + 1
        parts = []
        for numbers, some in zip(np.split(file, cuts), np.split(rows, cuts), strict=True):
            number = int(numbers[0])
            block = self._source(number).take(some - self.starts[number])
            tokens = self.language.tokenize(block, self.matches[number], seed=self.seed)
            parts.append(_numbered(tokens, some))
        return concatenate(parts)

    def blocks(self) -> Iterator[Tokens]:
        """All cells in order."""
        for number, match in enumerate(self.matches):
            for block in self._source(number).blocks():
                tokens = self.language.tokenize(block, match, seed=self.seed)
                yield _numbered(tokens, self.starts[number] + block.start + np.arange(len(block)))


class StoredExamples:
    """Token stores of ``biolm tokenize``, copied into flat arrays that are mapped, not loaded.

    Parameters
    ----------
    files
        The stores, numbered through.
    folder
        Where the arrays are written; with None only :meth:`blocks` works.
    """

    def __init__(self, files: list[Path], folder: Path | None) -> None:
        self.files, self.folder = files, folder
        if folder is not None and not folder.exists():
            with replacing(folder) as temporary:
                temporary.mkdir()
                self._copy(temporary)

    def _copy(self, folder: Path) -> None:
        """Write ``ids``, ``values`` and ``offsets``, block by block."""
        lengths, kind = [], None
        with (folder / "ids.bin").open("wb") as ids, (folder / "values.bin").open("wb") as values:
            for tokens in self.blocks():
                lengths.append(tokens.lengths)
                ids.write(np.ascontiguousarray(tokens.ids).tobytes())
                if tokens.values is not None:
                    kind = tokens.values.dtype.str
                    values.write(np.ascontiguousarray(tokens.values).tobytes())
        np.save(
            folder / "offsets.npy", np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        )
        (folder / "values.txt").write_text(kind or "")

    def at(self, epoch: int) -> Examples:  # noqa: ARG002  # the same in every epoch
        """These examples."""
        return self

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the examples ``rows``."""
        assert self.folder is not None
        offsets = np.load(self.folder / "offsets.npy", mmap_mode="r")
        kind = (self.folder / "values.txt").read_text()
        ids = np.memmap(self.folder / "ids.bin", np.int32, "r")
        values = np.memmap(self.folder / "values.bin", kind, "r") if kind else None
        everything = Tokens(ids=ids, offsets=offsets, index=rows, values=values)
        lengths = offsets[rows + 1] - offsets[rows]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        gather = np.repeat(offsets[rows] - ends[:-1], lengths) + np.arange(ends[-1])
        return Tokens(
            ids=np.asarray(everything.ids[gather]),
            offsets=ends.astype(np.int64),
            index=rows,
            values=None if values is None else np.asarray(values[gather]),
        )

    def blocks(self) -> Iterator[Tokens]:
        """All examples in order."""
        start = 0
        for path in self.files:
            for _, tokens in read_tokens(path):
                yield _numbered(tokens, np.arange(start, start + len(tokens)))
                start += len(tokens)


def _numbered(tokens: Tokens, index: NDArray[np.int64]) -> Tokens:
    return Tokens(ids=tokens.ids, offsets=tokens.offsets, index=index, values=tokens.values)
