"""Log-normalised expression of any file in the genes of the training file.

Dimensions: ``n`` cells · ``g`` genes of a file · ``m`` genes of the training file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

__all__ = ["ExpressionSpace", "counts_in", "gene_names", "log_normalised"]

TOTAL = 1e4


@dataclass(frozen=True, eq=False)
class ExpressionSpace:
    """The genes of the training cells, and what a cell looks like there on average.

    A query that lacks genes is compared fairly: its counts are brought to the total that the genes it does
    have make up in a training cell, and a gene it lacks is taken as average.

    Parameters
    ----------
    vocabulary
        ``m`` genes.
    share
        ``(m,)`` float32 share of all counts that a gene takes in training.
    mean
        ``(m,)`` float32 mean log-normalised value in training.
    """

    vocabulary: GeneVocabulary
    share: NDArray[np.float32]
    mean: NDArray[np.float32]

    @classmethod
    def of(cls, vocabulary: GeneVocabulary, counts: Any) -> ExpressionSpace:
        """The space of training counts, a sparse ``(n, m)`` matrix."""
        totals = np.asarray(counts.sum(0)).ravel()
        mean = np.asarray(log_normalised(counts).mean(0)).ravel()
        return cls(vocabulary, (totals / max(totals.sum(), 1)).astype(np.float32), mean.astype(np.float32))

    def present(self, match: GeneMatch) -> NDArray[np.bool_]:
        """``(m,)`` genes that a file has."""
        held = np.zeros(len(self.vocabulary), bool)
        held[match.target[match.target >= 0]] = True
        return held

    def table(self, block: CellBlock, match: GeneMatch) -> Any:
        """Sparse ``(n, m)`` log1p of counts, scaled to the total of the file's genes in training."""
        total = TOTAL * float(self.share[self.present(match)].sum())
        return log_normalised(counts_in(block, match, len(self.vocabulary)), total)


def gene_names(columns: Mapping[str, NDArray[np.str_]], match: GeneMatch) -> list[str]:
    """Names of a file's genes, each once: of the column that the model knew best, else the index."""
    best = columns[match.report.column]
    index = columns.get("index", best)
    names = (a or b for a, b in zip(best.tolist(), index.tolist(), strict=True))
    return list(dict.fromkeys(name for name in names if name))


def counts_in(block: CellBlock, match: GeneMatch, genes: int) -> Any:
    """Counts of a block as a sparse float32 ``(n, genes)`` matrix; columns of one gene are summed."""
    from scipy.sparse import csr_matrix

    target = match.target[block.indices]
    known = target >= 0
    starts = np.concatenate([[0], np.cumsum(known)])
    made = csr_matrix(
        (block.data[known].astype(np.float32), target[known], starts[block.indptr]), (len(block), genes)
    )
    made.sum_duplicates()
    return made


def log_normalised(counts: Any, total: float = TOTAL) -> Any:
    """Sparse float32 ``(n, m)`` log1p of counts brought to one total a cell; empty cells stay zero."""
    from scipy.sparse import csr_matrix

    sums = np.asarray(counts.sum(1), dtype=np.float64).ravel()
    factors = total / np.where(sums > 0, sums, 1.0)
    values = np.log1p(counts.data * np.repeat(factors, np.diff(counts.indptr)))
    return csr_matrix((values.astype(np.float32), counts.indices, counts.indptr), counts.shape)
