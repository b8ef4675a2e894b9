"""Value bins of scGPT: each expressed gene with the quantile bin of its value within the cell.

Dimensions: ``n`` cells · ``g`` gene columns · ``m`` genes of the vocabulary · ``t`` tokens · ``e`` edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels import kernel
from biolm.adapters.cells.rows import NO_LIMIT, Rows, by_column, cell_keys, tokenize_rows
from biolm.batch import Tokens
from biolm.errors import ConfigError
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

__all__ = ["BinTokenizer"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BinTokenizer:
    """Expressed genes in the file's order, each with a bin from 1 to ``n_bins - 1``.

    As scGPT does when it embeds (Cui et al., Nature Methods 2024): the edges are ``n_bins - 1`` linear
    quantiles of the cell's non-zero values; a value that coincides with several edges goes to one of the
    bins between them, chosen at random. Cells with too many genes are sampled.

    Here both choices come from a hash of (seed, row number of the cell, token id), so they do not depend
    on block size, workers or platform. Genes whose counts are equal spread evenly over their legal bins.

    Parameters
    ----------
    token_ids
        ``(m,)`` token id of each gene of the vocabulary.
    n_bins
        Bins, the one of zeros included.
    max_length
        Most tokens of a cell, ``cls_id`` included; None for no limit.
    cls_id, cls_value
        Token put first and its value; None for no such token.
    draw
        None to draw; a number from 0 to 1 in place of every draw: 0 gives the highest legal bin, 1 the
        lowest.

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
    >>> tokens = BinTokenizer(token_ids=np.array([10, 11, 12]), cls_id=1, draw=0)(cell, match)
    >>> tokens.ids.tolist(), tokens.values.tolist()
    ([1, 10, 11, 12], [-2, 50, 25, 1])
    """

    token_ids: NDArray[np.int32]
    n_bins: int = 51
    max_length: int | None = 1200
    cls_id: int | None = None
    cls_value: int = -2
    draw: float | None = None

    def __post_init__(self) -> None:
        if not 3 <= self.n_bins <= np.iinfo(np.int16).max:
            raise ConfigError(f"n_bins must lie between 3 and {np.iinfo(np.int16).max}, not {self.n_bins}")
        if self.max_length is not None and self.max_length <= (self.cls_id is not None):
            raise ConfigError(f"max_length {self.max_length} leaves no room for a gene")
        if self.draw is not None and not 0 <= self.draw <= 1:
            raise ConfigError(f"draw must lie between 0 and 1, not {self.draw}")

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Tokens of the cells of a block, with int16 bins as values.

        Parameters
        ----------
        block
            ``n`` cells of counts, or of any values whose order matters.
        match
            Vocabulary row of each of the file's ``g`` genes; counts of genes with one row are added up.
        seed
            Seeds the spread over tied bins and the sampling of long cells.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number.
        """
        tokens = by_column(match, np.asarray(self.token_ids, np.int32), -1)
        special = int(self.cls_id is not None)
        limit = NO_LIMIT if self.max_length is None else self.max_length - special
        first = (-1 if self.cls_id is None else self.cls_id, self.cls_value)
        # A draw of 1 is never made: the largest number below it stands for it.
        forced = -1 if self.draw is None else min(int(self.draw * 2**32), 2**32 - 1)
        quantiles = np.linspace(0, 1, self.n_bins - 1)
        cells = cell_keys(block.numbers, seed)
        bin_rows = kernel("bin_rows", block.size)

        def write(rows: Rows, fresh: bool, span: slice, out: tuple[NDArray[Any], ...]) -> int:
            count: int = bin_rows(
                tuple(rows), fresh, tokens, quantiles, cells[span], forced, limit, first, out
            )
            return count

        return tokenize_rows(block, match, write, limit=limit, special=special, values=np.int16)
