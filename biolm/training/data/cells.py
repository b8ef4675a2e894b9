"""Examples by number: cells tokenised as they are read, or stored tokens behind a memory map.

Dimensions: ``n`` examples of the whole data set · ``t`` tokens · ``v`` vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import RankTokenizer, concatenate
from biolm.adapters.cells.counts import watch_counts
from biolm.adapters.cells.downsample import Downsampling
from biolm.adapters.cells.rows import by_column
from biolm.adapters.cells.zeros import add_zeros
from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError
from biolm.io.atomic import replacing
from biolm.io.cells import CellBlock, CellSource, open_cells
from biolm.io.copied import copied
from biolm.io.token_store import TokenStore, is_token_store, token_blocks, write_tokens
from biolm.models.language import CellLanguage
from biolm.progress import progress, speaks
from biolm.training.data.vocabulary import naming_file
from biolm.vocab.match import GeneMatch

__all__ = ["CellExamples", "DrawnCells", "Examples", "StoredExamples", "Survey", "survey"]


class Examples(Protocol):
    """What a loader needs of the data."""

    @property
    def random_access(self) -> bool:
        """Whether examples are read as fast in any order as in their own."""
        ...

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


def survey(
    examples: Examples, vocab_size: int, share: float, seed: int, known: NDArray[np.int64] | None = None
) -> Survey:
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
    known
        ``(n,)`` tokens of each, where an earlier look has told.

    Raises
    ------
    InputError
        If a token lies outside the vocabulary, or no example is left to train or validate on.
    """
    if known is not None and isinstance(examples, Sized) and len(known) != len(examples):
        known = None
    lengths = _lengths(examples, vocab_size) if known is None else known
    draws = np.random.Generator(np.random.PCG64([seed, 1]))
    result = Survey(lengths, draws.random(len(lengths)) < share)
    for what, rows in (("train", ~result.held_out), ("validate", result.held_out)):
        if not (rows & (result.lengths > 0)).any() and (what == "train" or share > 0):
            raise InputError(f"no example is left to {what} on; give more data or another data.validation")
    return result


def _lengths(examples: Examples, vocab_size: int) -> NDArray[np.int64]:
    """``(n,)`` tokens of each example, which are checked on the way."""
    lengths = []
    total = len(examples) if isinstance(examples, Sized) else None
    with progress("looking at the data", total, show=speaks(), unit="examples") as advance:
        for tokens in examples.blocks():
            if len(tokens.ids) and not 0 <= tokens.ids.min() <= tokens.ids.max() < vocab_size:
                raise InputError(
                    "the stored tokens do not belong to this vocabulary; give the one they were made with"
                )
            lengths.append(tokens.lengths)
            advance(len(tokens))
    return np.concatenate([np.zeros(0, np.int64), *lengths])


_OPEN = 32  # files that a process keeps open at a time


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
        Of the tokeniser's draws, and of down-sampling.
    downsample
        How counts are thinned anew in each epoch; None to leave them.
    zeros
        Genes of value 0 that each cell gets beside its expressed ones, others in each epoch.
    counts
        Whether a cell whose values are no counts is refused when it is read.
    """

    def __init__(
        self,
        files: list[Path],
        matches: list[GeneMatch],
        language: CellLanguage,
        *,
        matrix: str,
        seed: int,
        downsample: Downsampling | None = None,
        zeros: int = 0,
        counts: bool = False,
    ) -> None:
        self.files, self.matches, self.counts = files, matches, counts
        self.matrix, self.seed, self.downsample, self.zeros = matrix, seed, downsample, zeros
        # Cells at the tokeniser's limit must have room for zeros too.
        self.language = _with_room(language, zeros) if zeros else language
        self._open: dict[int, CellSource] = {}
        self._process = os.getpid()
        self.random_access = True
        sizes = []
        for number in range(len(files)):
            source = self._source(number)
            sizes.append(source.n_cells)
            self.random_access &= source.random_access
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def _source(self, number: int) -> CellSource:
        """An open file; each process opens its own, as HDF5 handles do not survive a fork."""
        if self._process != os.getpid():
            self._open, self._process = {}, os.getpid()
        source = self._open.pop(number, None)
        if source is None:
            if len(self._open) >= _OPEN:
                # The one that was not used for longest.
                self._open.pop(next(iter(self._open))).close()
            source = open_cells(self.files[number], matrix=self.matrix)
            if self.counts:
                watch_counts(source)
        self._open[number] = source
        return source

    def __len__(self) -> int:
        return int(self.starts[-1])

    def close(self) -> None:
        """Close the files of this process."""
        for source in self._open.values():
            source.close()
        self._open = {}

    def at(self, epoch: int) -> Examples:
        """These examples, thinned and with the zeros that epoch draws."""
        return DrawnCells(self, epoch) if self.downsample is not None or self.zeros else self

    def read(self, rows: NDArray[np.int64], epoch: int | None = None) -> Tokens:
        """Tokens of the cells ``rows`` (ascending); thinned for an epoch, whole without one."""
        file = np.searchsorted(self.starts, rows, side="right") - 1
        cuts = np.flatnonzero(np.diff(file)) + 1
        parts = []
        for numbers, some in zip(np.split(file, cuts), np.split(rows, cuts), strict=True):
            number = int(numbers[0])
            with naming_file(self.files[number]):
                block = self._source(number).take(some - self.starts[number])
                if epoch is not None and self.downsample is not None:
                    block = self._thinned(block, some, epoch)
                parts.append(self._tokens(block, number, some, epoch or 0))
        return concatenate(parts)

    def _tokens(self, block: CellBlock, number: int, rows: NDArray[np.int64], epoch: int) -> Tokens:
        """Tokens of some cells of a file; ``rows`` are their numbers in the whole data set."""
        match = self.matches[number]
        tokens = self.language.tokenize(block, match, seed=self.seed)
        if self.zeros:
            genes: Any = self.language.tokenizer
            token_of = by_column(match, np.asarray(genes.token_ids, np.int32), -1)
            tokens = add_zeros(tokens, block, token_of, self.zeros, seed=self.seed, epoch=epoch, keys=rows)
        return _numbered(tokens, rows)

    def _thinned(self, block: CellBlock, rows: NDArray[np.int64], epoch: int) -> CellBlock:
        """Fewer counts; a cell that would lose all of them keeps them."""
        assert self.downsample is not None
        made = self.downsample.apply(block, seed=self.seed, epoch=epoch, keys=rows)
        emptied = np.repeat(made.after == 0, np.diff(block.indptr))
        return replace(block, data=np.where(emptied, block.data, made.block.data))

    def blocks(self) -> Iterator[Tokens]:
        """All cells in order."""
        for number in range(len(self.files)):
            for block in self._source(number).blocks():
                rows = self.starts[number] + block.start + np.arange(len(block))
                with naming_file(self.files[number]):
                    tokens = self._tokens(block, number, rows, 0)
                yield tokens


@dataclass(frozen=True, slots=True)
class DrawnCells:
    """Cells with what is drawn by seed, epoch and number of the cell: fewer counts, genes of value 0.

    Parameters
    ----------
    cells
        The whole cells.
    epoch
        Of the run.
    """

    cells: CellExamples
    epoch: int

    @property
    def random_access(self) -> bool:
        """As of the whole cells."""
        return self.cells.random_access

    def at(self, epoch: int) -> Examples:
        """The cells as another epoch wants them."""
        return self.cells.at(epoch)

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the cells ``rows`` (ascending)."""
        return self.cells.read(rows, self.epoch)

    def blocks(self) -> Iterator[Tokens]:
        """All cells in order, whole."""
        return self.cells.blocks()


class StoredExamples:
    """Tokens of ``biolm tokenize`` or ``biolm pack``, in flat arrays that are mapped, not loaded.

    Parameters
    ----------
    files
        The stored tokens, numbered through.
    folder
        Where they are unpacked, unless they are one packed store already; with None only :meth:`blocks`
        works then. Of several processes that share the folder one unpacks, the others wait for it.
    """

    def __init__(self, files: list[Path], folder: Path | None) -> None:
        self.files = files
        self.random_access = True
        self.store: TokenStore | None = None
        if len(files) == 1 and is_token_store(files[0]):
            self.store = TokenStore(files[0])
        elif folder is not None:
            self.store = TokenStore(copied(files, folder, lambda place: _write(files, place)))

    def at(self, epoch: int) -> Examples:  # noqa: ARG002  # the same in every epoch
        """These examples."""
        return self

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the examples ``rows``."""
        assert self.store is not None
        return self.store.read(rows)

    def blocks(self) -> Iterator[Tokens]:
        """All examples in order."""
        if self.store is not None:
            yield from self.store.blocks()
            return
        start = 0
        for tokens in token_blocks(self.files):
            yield _numbered(tokens, np.arange(start, start + len(tokens)))
            start += len(tokens)


def _write(files: list[Path], place: Path) -> None:
    with replacing(place) as temporary:
        write_tokens(files, temporary)


def _with_room(language: CellLanguage, zeros: int) -> CellLanguage:
    tokenizer: Any = language.tokenizer
    if isinstance(tokenizer, RankTokenizer):
        raise ConfigError(
            "data.zeros is for values; set model.adapter to bins or continuous, or leave it out"
        )
    if tokenizer.max_length is None:
        return language
    if tokenizer.max_length <= zeros + sum(language.special):
        raise ConfigError(
            f"data.zeros {zeros} leaves no room for expressed genes in a max_length of {tokenizer.max_length}"
        )
    return replace(language, tokenizer=replace(tokenizer, max_length=tokenizer.max_length - zeros))


def _numbered(tokens: Tokens, index: NDArray[np.int64]) -> Tokens:
    return Tokens(ids=tokens.ids, offsets=tokens.offsets, index=index, values=tokens.values)
