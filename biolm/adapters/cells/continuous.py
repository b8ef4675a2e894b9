"""Continuous tokens: each expressed gene with its normalised value.

Dimensions: ``n`` cells · ``g`` gene columns · ``m`` genes of the vocabulary · ``t`` tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels import kernel
from biolm.adapters.cells.rows import NO_LIMIT, Rows, by_column, cell_keys, tokenize_rows
from biolm.batch import Tokens
from biolm.errors import ConfigError
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

__all__ = ["ContinuousTokenizer"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContinuousTokenizer:
    """Expressed genes in the file's order, each with ``log(1 + x / total * target_sum)``.

    The total runs over all genes of the file, as ``scanpy.pp.normalize_total`` has it. The logarithm is
    computed in float64 without a library, so the values are the same on every platform.

    Parameters
    ----------
    token_ids
        ``(m,)`` token id of each gene of the vocabulary.
    target_sum
        What the values of a cell add up to before the logarithm; None to leave them as they are.
    log1p
        Whether to take the logarithm.
    max_length
        Most tokens of a cell, ``cls_id`` included; None for no limit.
    cls_id
        Token put first, with value 0; None for none.
    keep
        What cells over the limit keep: their ``highest`` values (ties by token id), or a ``sample`` drawn
        by a hash of (seed, row number of the cell, token id).

    Raises
    ------
    ConfigError
        If a setting is out of range.

    Examples
    --------
    >>> from biolm.vocab.genes import GeneVocabulary
    >>> vocabulary = GeneVocabulary.of(["ENSG00000167286", "ENSG00000156738", "ENSG00000105374"])
    >>> match = vocabulary.match({"index": np.array(vocabulary.genes)})
    >>> cell = CellBlock(start=0, data=np.array([4.0, 3.0, 2.0]), indices=np.arange(3, dtype=np.int32),
    ...                  indptr=np.array([0, 3]), n_genes=3)
    >>> tokens = ContinuousTokenizer(token_ids=np.array([10, 11, 12]), target_sum=9, log1p=False)(cell, match)
    >>> tokens.ids.tolist(), tokens.values.tolist()
    ([10, 11, 12], [4.0, 3.0, 2.0])
    """

    token_ids: NDArray[np.int32]
    target_sum: float | None = 1e4
    log1p: bool = True
    max_length: int | None = None
    cls_id: int | None = None
    keep: Literal["highest", "sample"] = "highest"

    def __post_init__(self) -> None:
        if self.target_sum is not None and not self.target_sum > 0:
            raise ConfigError(f"target_sum must be above 0, not {self.target_sum}")
        if self.max_length is not None and self.max_length <= (self.cls_id is not None):
            raise ConfigError(f"max_length {self.max_length} leaves no room for a gene")
        if self.keep not in ("highest", "sample"):
            raise ConfigError(f"keep must be highest or sample, not {self.keep}")

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Tokens of the cells of a block, with float32 values.

        Parameters
        ----------
        block
            ``n`` cells of counts.
        match
            Vocabulary row of each of the file's ``g`` genes; counts of genes with one row are added up.
        seed
            Seeds the sample of cells over the limit.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number.
        """
        tokens = by_column(match, np.asarray(self.token_ids, np.int32), -1)
        special = int(self.cls_id is not None)
        limit = NO_LIMIT if self.max_length is None else self.max_length - special
        first = -1 if self.cls_id is None else self.cls_id
        target = 0.0 if self.target_sum is None else float(self.target_sum)
        cells, sample = cell_keys(block.numbers, seed), self.keep == "sample"
        continuous_rows, log1p = (kernel(name, block.size) for name in ("continuous_rows", "log1p"))
        exact = np.empty(block.indptr[-1] + special * len(block), np.float64)

        def write(rows: Rows, fresh: bool, span: slice, out: tuple[NDArray[Any], ...]) -> int:
            ids, values, lengths = out
            given = (ids, exact, lengths)
            count: int = continuous_rows(
                tuple(rows), fresh, tokens, target, cells[span], limit, sample, first, given
            )
            done = max(count, 0)
            if self.log1p:
                log1p(exact[:done], values[:done])
            else:
                values[:done] = exact[:done]
            return count

        return tokenize_rows(block, match, write, limit=limit, special=special, values=np.float32)
