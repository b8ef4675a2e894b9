"""Cells that genes can be changed in: as tokens where the model reads them, else as counts.

Dimensions: ``n`` cells of a block · ``p`` changed cells · ``d`` width · ``t`` tokens · ``m`` genes of the
vocabulary.

Deleting takes a gene's token away, or sets its count to zero. Over-expressing moves its token to the front
(models of ranks: Geneformer), gives it the top bin (scGPT) or the largest value of the cell. As Geneformer
has it, a cell that was cut at the length limit is not refilled when a gene is deleted, and loses its last
gene when one is added.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import BinTokenizer, ContinuousTokenizer, RankTokenizer
from biolm.adapters.cells.rows import prepare
from biolm.batch import Tokens
from biolm.io.cells import CellBlock
from biolm.models.model import CellModel, EmbedOptions
from biolm.tasks.perturb.edits import Edit
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from biolm.models.token_model import TokenCellModel

__all__ = ["ChangingCells", "open_changing"]

# Changed cells in memory at a time, in tokens or counts.
_PIECE = 2**21


class ChangingCells(ABC):
    """A block of cells whose genes can be changed.

    Attributes
    ----------
    expressed
        For each cell the vocabulary rows of its expressed genes, highest first.
    """

    expressed: list[NDArray[np.int64]]

    @abstractmethod
    def vectors(self, cells: NDArray[np.int64], edits: Sequence[Edit]) -> NDArray[np.float32]:
        """Vectors ``(p, d)`` of cells after one edit each; an empty :class:`Edit` changes nothing.

        Parameters
        ----------
        cells
            ``(p,)`` numbers.
        edits
            One for each.
        """

    @abstractmethod
    def changes(self, cell: int, edit: Edit) -> bool:
        """Whether an edit changes what the model reads of a cell: raising its highest gene does not.

        Parameters
        ----------
        cell
            Number of the cell.
        edit
            What is done to it.
        """

    def pieces(self, cells: NDArray[np.int64]) -> Iterator[slice]:
        """Runs of pairs that fit the memory together."""
        # Special tokens included; an edit adds or takes a few genes, which does not matter here.
        sizes = np.array([len(row) for row in self.expressed])[cells] + 2
        bounds = np.flatnonzero(np.diff(np.cumsum(sizes) // _PIECE)) + 1
        starts = [0, *bounds.tolist(), len(cells)]
        for start, stop in pairwise(starts):
            yield slice(start, stop)


def open_changing(
    model: CellModel, block: CellBlock, match: GeneMatch, options: EmbedOptions
) -> ChangingCells:
    """The cells of a block in the form that the model's genes are changed in.

    Parameters
    ----------
    model
        Whose tokens or counts are changed.
    block
        The cells.
    match
        Where their genes go.
    options
        How the model is run.
    """
    preprocessor = getattr(model, "preprocessor", None)
    tokenizer = getattr(preprocessor, "tokenizer", None)
    if isinstance(tokenizer, RankTokenizer | BinTokenizer | ContinuousTokenizer):
        return _TokenCells(model, tokenizer, block, match, options)
    return _CountCells(model, block, match, options)


@dataclass(slots=True)
class _Example:
    """Tokens of one cell: what stands before, between and after, and the values of all of them."""

    ids: NDArray[np.int32]
    values: NDArray[Any] | None


class _TokenCells(ChangingCells):
    def __init__(
        self,
        model: Any,
        tokenizer: RankTokenizer | BinTokenizer | ContinuousTokenizer,
        block: CellBlock,
        match: GeneMatch,
        options: EmbedOptions,
    ) -> None:
        self._model: TokenCellModel = model
        self._options = options
        self._tokens = model.tokenize(block, match, seed=options.seed)
        self._token_ids = np.asarray(tokenizer.token_ids, np.int32)
        self._first, self._last = model.preprocessor.special
        self._ranks = isinstance(tokenizer, RankTokenizer)
        self._top = tokenizer.n_bins - 1 if isinstance(tokenizer, BinTokenizer) else None
        self._limit = tokenizer.max_length
        gene = np.full(int(self._token_ids.max()) + 1, -1, np.int64)
        gene[self._token_ids] = np.arange(len(self._token_ids))
        self.expressed = [gene[ids] for ids in (self._ordered(row) for row in range(len(self._tokens)))]

    def changes(self, cell: int, edit: Edit) -> bool:
        before, after = self._tokens[cell], self._changed(cell, edit)
        if not np.array_equal(before.ids, after.ids):
            return True
        return before.values is not None and not np.array_equal(before.values, after.values)  # type: ignore[arg-type]

    def _body(self, row: int) -> slice:
        return slice(self._first, int(self._tokens.lengths[row]) - self._last)

    def _ordered(self, row: int) -> NDArray[np.int32]:
        """Gene tokens of a cell, highest first."""
        example, body = self._tokens[row], self._body(row)
        ids: NDArray[np.int32] = example.ids[body]
        # Tokens of ranks stand in that order already.
        if self._ranks or example.values is None:
            return ids
        order = np.argsort(-example.values[body].astype(np.float64), kind="stable")
        return np.asarray(ids[order])

    def vectors(self, cells: NDArray[np.int64], edits: Sequence[Edit]) -> NDArray[np.float32]:
        parts = []
        for span in self.pieces(cells):
            changed = [
                self._changed(int(row), edit) for row, edit in zip(cells[span], edits[span], strict=True)
            ]
            offsets = np.concatenate([[0], np.cumsum([len(one.ids) for one in changed])]).astype(np.int64)
            values = [one.values for one in changed if one.values is not None]
            tokens = Tokens(
                ids=np.concatenate([one.ids for one in changed]),
                offsets=offsets,
                index=np.arange(len(changed)),
                values=np.concatenate(values) if values else None,
            )
            parts.append(self._model.embed_tokens(tokens, self._options))
        return np.concatenate(parts)

    def _changed(self, row: int, edit: Edit) -> _Example:
        """The tokens of a cell after an edit."""
        example, body = self._tokens[row], self._body(row)
        ids, values = example.ids[body], None if example.values is None else example.values[body]
        raised = self._token_ids[list(edit.raised)]
        gone = self._token_ids[list(edit.deleted)]
        if self._ranks:
            kept = ~np.isin(ids, np.concatenate([gone, raised])) if edit.genes else slice(None)
            ids, top = np.concatenate([raised, ids[kept]]), _largest(values)
            if values is not None:
                values = np.concatenate([np.full(len(raised), top, values.dtype), values[kept]])
        elif values is not None:
            kept = ~np.isin(ids, gone)
            ids, values, top = ids[kept], values[kept], self._top or _largest(values)
            # Over-expressed: as high as the highest gene of the cell.
            values[np.isin(ids, raised)] = top
            # Where the cell is full, tokens at its end make room and not the raised ones.
            new = raised[~np.isin(raised, ids)]
            space = len(ids) if self._limit is None else self._limit - self._first - self._last - len(new)
            ids = np.concatenate([ids[:space], new])
            values = np.concatenate([values[:space], np.full(len(new), top, values.dtype)])
        if self._limit is not None:
            most = self._limit - self._first - self._last
            ids, values = ids[:most], None if values is None else values[:most]
        return _Example(
            np.concatenate([example.ids[: body.start], ids, example.ids[body.stop :]]),
            None
            if values is None or example.values is None
            else np.concatenate([example.values[: body.start], values, example.values[body.stop :]]),
        )


class _CountCells(ChangingCells):
    def __init__(self, model: CellModel, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> None:
        self._model, self._match, self._options = model, match, options
        rows = prepare(block, match)
        target = match.target[rows.indices.astype(np.int64)]
        known = (target >= 0) & (rows.data > 0)
        self._column = np.full(int(match.target.max()) + 1, -1, np.int64)
        # Backwards, so that of several columns of a gene the first is written last and stays.
        columns = np.flatnonzero(match.target >= 0)[::-1]
        # Of columns that share a gene, their counts were added up in the first.
        self._column[match.target[columns]] = columns
        self._cells, self.expressed = [], []
        for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
            span = slice(int(start), int(stop))
            self._cells.append((rows.indices[span].astype(np.int64), rows.data[span].astype(np.float64)))
            genes, counts = target[span][known[span]], rows.data[span][known[span]]
            self.expressed.append(genes[np.argsort(-counts, kind="stable")].astype(np.int64))
        self._genes, self._numbers = block.n_genes, block.numbers

    def changes(self, cell: int, edit: Edit) -> bool:
        before, after = self._cells[cell], self._changed(cell, edit)
        return not all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))

    def vectors(self, cells: NDArray[np.int64], edits: Sequence[Edit]) -> NDArray[np.float32]:
        parts = []
        for span in self.pieces(cells):
            changed = [
                self._changed(int(row), edit) for row, edit in zip(cells[span], edits[span], strict=True)
            ]
            block = CellBlock(
                start=0,
                data=np.concatenate([values for _, values in changed]),
                indices=np.concatenate([columns for columns, _ in changed]).astype(np.int32),
                indptr=np.concatenate([[0], np.cumsum([len(values) for _, values in changed])]).astype(
                    np.int64
                ),
                n_genes=self._genes,
                rows=self._numbers[cells[span]],
            )
            parts.append(self._model.embed(block, self._match, self._options))
        return np.concatenate(parts)

    def _changed(self, row: int, edit: Edit) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns and counts of a cell after an edit, columns ascending."""
        columns, values = self._cells[row]
        if not edit.genes:
            return columns, values
        # A raised gene is taken out first, or it would be there twice.
        gone = self._column[list(edit.genes)]
        kept = ~np.isin(columns, gone)
        raised = self._column[list(edit.raised)]
        columns = np.concatenate([columns[kept], raised])
        values = np.concatenate([values[kept], np.full(len(raised), _largest(values))])
        # Kernels of counts take columns in ascending order.
        order = np.argsort(columns)
        return columns[order], values[order]


def _largest(values: NDArray[Any] | None) -> Any:
    """The largest value of a cell; 1 for an empty one."""
    return values.max() if values is not None and len(values) else 1
