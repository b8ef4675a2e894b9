"""Rank tokens of Geneformer: the genes of a cell, most distinctive first.

Dimensions: ``n`` cells · ``g`` gene columns · ``m`` genes of the vocabulary · ``t`` tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels import kernel
from biolm.adapters.cells.rows import Rows, by_column, tokenize_rows
from biolm.batch import Tokens
from biolm.errors import ConfigError
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

__all__ = ["RankTokenizer"]

LEAST_MEDIAN = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankTokenizer:
    """Order the expressed genes of each cell by ``x / total * 10,000 / median``, largest first.

    As Geneformer does (Theodoris et al., Nature 2023): the median of a gene over a large corpus is divided
    out, so that genes expressed everywhere sink and those that tell cells apart rise. Version 1 of the
    published models cuts at 2,048 genes; version 2 at 4,096 tokens, ``cls_id`` and ``eos_id`` among them.

    Values are computed in float64 as ``(x / total) * (10,000 / median)``. The quotient is correctly
    rounded, so multiplying all counts of a cell by a whole number changes nothing. Equal values are
    ordered by token id.

    Parameters
    ----------
    token_ids
        ``(m,)`` token id of each gene of the vocabulary.
    medians
        ``(m,)`` non-zero median expression of each gene, above 0.
    max_length
        Most tokens of a cell, special tokens included.
    cls_id, eos_id
        Token put first and last; None for none.
    keep_counts
        Whether :attr:`Tokens.values` holds counts per 10,000, float32, 0 at special tokens.

    Raises
    ------
    ConfigError
        If the columns do not fit each other, a median is not above 0, or nothing fits ``max_length``.

    Examples
    --------
    >>> from biolm.vocab.genes import GeneVocabulary
    >>> vocabulary = GeneVocabulary.of(["ENSG00000167286", "ENSG00000156738", "ENSG00000105374"])
    >>> match = vocabulary.match({"index": np.array(vocabulary.genes)})
    >>> cell = CellBlock(start=0, data=np.array([4.0, 3.0, 2.0]), indices=np.arange(3, dtype=np.int32),
    ...                  indptr=np.array([0, 3]), n_genes=3)
    >>> tokenizer = RankTokenizer(token_ids=np.array([10, 11, 12]), medians=np.array([8.0, 1.0, 1.0]),
    ...                           max_length=2)
    >>> tokenizer(cell, match).ids.tolist()
    [11, 12]
    """

    token_ids: NDArray[np.int32]
    medians: NDArray[np.float64]
    max_length: int
    cls_id: int | None = None
    eos_id: int | None = None
    keep_counts: bool = False

    def __post_init__(self) -> None:
        if np.shape(self.token_ids) != np.shape(self.medians):
            raise ConfigError(
                f"{len(self.token_ids)} token ids but {len(self.medians)} medians; give one of each a gene"
            )
        # Below the least median the factor 10,000 / median is no finite number.
        if not (np.isfinite(self.medians) & (np.asarray(self.medians) > LEAST_MEDIAN)).all():
            raise ConfigError("gene medians must be finite and above 0")
        if self._genes < 1:
            raise ConfigError(f"max_length {self.max_length} leaves no room for a gene")

    @property
    def _genes(self) -> int:
        """Most genes of a cell."""
        return self.max_length - (self.cls_id is not None) - (self.eos_id is not None)

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:  # noqa: ARG002
        """Tokens of the cells of a block; a cell without known genes has none but special tokens.

        Parameters
        ----------
        block
            ``n`` cells of counts.
        match
            Vocabulary row of each of the file's ``g`` genes; counts of genes with one row are added up.
        seed
            Not used: nothing here is random.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number.
        """
        tokens = by_column(match, np.asarray(self.token_ids, np.int32), -1)
        scales = by_column(match, 1e4 / np.asarray(self.medians, np.float64), 0.0)
        ends = (-1 if self.cls_id is None else self.cls_id, -1 if self.eos_id is None else self.eos_id)
        rank_rows = kernel("rank_rows", block.size)

        def write(rows: Rows, fresh: bool, _: slice, out: tuple[NDArray[Any], ...]) -> int:
            count: int = rank_rows(tuple(rows), fresh, tokens, scales, self._genes, ends, out)
            return count

        return tokenize_rows(
            block,
            match,
            write,
            limit=self._genes,
            special=self.max_length - self._genes,
            values=np.float32 if self.keep_counts else None,
        )
