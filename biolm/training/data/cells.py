"""Cells as examples: tokenised as they are read, with what an epoch draws.

Dimensions: ``n`` examples of the whole data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import RankTokenizer, concatenate
from biolm.adapters.cells.downsample import Downsampling
from biolm.adapters.cells.rows import by_column
from biolm.adapters.cells.zeros import add_zeros
from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError
from biolm.io.cells import CellBlock, label_text
from biolm.models.preprocessor import CellPreprocessor
from biolm.progress import log
from biolm.settings import nearest
from biolm.training.config import LabelConfig
from biolm.training.data.cell_files import CellFiles, naming_file
from biolm.training.data.examples import Examples
from biolm.vocab.match import GeneMatch

__all__ = ["CellExamples"]


class CellExamples(Examples):
    """Cells of one or more files, numbered through; tokenised when they are read.

    Parameters
    ----------
    files
        Tables of cells.
    matches
        Where each file's genes go.
    preprocessor
        Tokeniser.
    seed
        Of the tokeniser's draws, and of down-sampling.
    downsample
        How counts are down-sampled anew in each epoch; None to leave them.
    zeros
        Genes of value 0 that each cell gets beside its expressed ones, others in each epoch.
    """

    def __init__(
        self,
        files: CellFiles,
        matches: list[GeneMatch],
        preprocessor: CellPreprocessor,
        *,
        seed: int,
        downsample: Downsampling | None = None,
        zeros: int = 0,
    ) -> None:
        self.files, self.matches = files, matches
        self.seed, self.downsample, self.zeros = seed, downsample, zeros
        self.drawn = downsample is not None or zeros > 0
        # Cells at the tokeniser's limit need places for zeros too.
        self.preprocessor = _leaving_places(preprocessor, zeros) if zeros else preprocessor
        sizes = []
        for _, source in files.each():
            sizes.append(source.n_cells)
            self.random_access &= source.random_access
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def close(self) -> None:
        """Close the files of this process."""
        self.files.close()

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the cells ``rows`` (ascending); down-sampled for an epoch, whole without one."""
        file = np.searchsorted(self.starts, rows, side="right") - 1
        cuts = np.flatnonzero(np.diff(file)) + 1
        parts = []
        # Rows ascend, so that each file is read once and forwards.
        for numbers, some in zip(np.split(file, cuts), np.split(rows, cuts), strict=True):
            number = int(numbers[0])
            with naming_file(self.files.paths[number]):
                block = self.files.source(number).take(some - self.starts[number])
                if self.epoch is not None and self.downsample is not None:
                    block = self._downsampled(block, some, self.downsample, self.epoch)
                parts.append(self._tokens(block, number, some, self.epoch or 0))
        return concatenate(parts)

    def _tokens(self, block: CellBlock, number: int, rows: NDArray[np.int64], epoch: int) -> Tokens:
        """Tokens of some cells of a file; ``rows`` are their numbers in the whole data set."""
        match = self.matches[number]
        tokens = self.preprocessor.tokenize(block, match, seed=self.seed)
        if self.zeros:
            genes: Any = self.preprocessor.tokenizer
            token_of = by_column(match, np.asarray(genes.token_ids, np.int32), -1)
            tokens = add_zeros(tokens, block, token_of, self.zeros, seed=self.seed, epoch=epoch, keys=rows)
        return Tokens(ids=tokens.ids, offsets=tokens.offsets, index=rows, values=tokens.values)

    def _downsampled(
        self, block: CellBlock, rows: NDArray[np.int64], settings: Downsampling, epoch: int
    ) -> CellBlock:
        """Fewer counts; a cell that would lose all of them keeps them."""
        # By the cell's number in the whole data, so that batches may be dealt otherwise without other draws.
        fewer = settings.apply(block, seed=self.seed, epoch=epoch, keys=rows)
        emptied = np.repeat(fewer.after == 0, np.diff(block.indptr))
        return replace(block, data=np.where(emptied, block.data, fewer.block.data))

    def blocks(self) -> Iterator[Tokens]:
        """All cells in order, whole."""
        for number, (path, source) in enumerate(self.files.each()):
            for block in source.blocks():
                rows = self.starts[number] + block.start + np.arange(len(block))
                with naming_file(path):
                    tokens = self._tokens(block, number, rows, 0)
                yield tokens

    def column(self, name: str, chosen: LabelConfig) -> NDArray[Any]:
        """``(n,)`` one obs column of all cells; missing in files that lack it, if another has it."""
        if chosen.table is not None:
            raise ConfigError(f"data.labels.{name}.table labels sequences; cells have labels in obs columns")
        return _obs_column(self.files, chosen.column or name)


def _obs_column(files: CellFiles, name: str) -> NDArray[Any]:
    parts: list[NDArray[Any] | int] = []
    known: dict[str, None] = {}
    for _, source in files.each():
        columns = source.obs_columns()
        known |= dict.fromkeys(columns)
        parts.append(source.obs_column(name) if name in columns else source.n_cells)
    present = [part for part in parts if not isinstance(part, int)]
    if not present:
        have = nearest(name, list(known)) if known else "they have none"
        raise InputError(f"no file of cells has the obs column {name!r}; {have}")
    for path, part in zip(files.paths, parts, strict=True):
        if isinstance(part, int):
            log.warning("%s has no obs column %r: its cells count as unlabelled", path, name)
    text = any(part.dtype.kind == "U" for part in present)
    gap = "" if text else np.nan
    return np.concatenate(
        [
            np.full(part, gap) if isinstance(part, int) else label_text(part) if text else part
            for part in parts
        ]
    )


def _leaving_places(preprocessor: CellPreprocessor, zeros: int) -> CellPreprocessor:
    tokenizer: Any = preprocessor.tokenizer
    if isinstance(tokenizer, RankTokenizer):
        raise ConfigError(
            "data.zeros is for values; set model.adapter to bins or continuous, or leave it out"
        )
    if tokenizer.max_length is None:
        return preprocessor
    if tokenizer.max_length <= zeros + sum(preprocessor.special):
        raise ConfigError(
            f"data.zeros {zeros} leaves no room for expressed genes in a max_length of {tokenizer.max_length}"
        )
    return replace(preprocessor, tokenizer=replace(tokenizer, max_length=tokenizer.max_length - zeros))
