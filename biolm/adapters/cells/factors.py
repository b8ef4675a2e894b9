"""Cells as a factor model reads them: logs of counts that are scaled to what the gene panel can hold.

Dimensions: ``n`` cells of a block · ``g`` gene columns of the file · ``h`` human genes · ``d`` factors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels import kernel
from biolm.adapters.cells.rows import prepare
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

__all__ = ["PER", "LogCounts", "human_match", "log_counts", "panel_of", "summed"]

PER = 1e4
"""Counts that a cell measured with every gene is scaled to."""
_STRIP = 256  # cells worked on at a time


def human_match(match: GeneMatch, human: NDArray[np.int32]) -> GeneMatch:
    """The match with every gene replaced by the human gene ``human (m,)`` that it stands for.

    Columns of several mouse genes that stand for one human gene share it from then on.

    Parameters
    ----------
    match
        Where the file's genes go.
    human
        ``(m,)`` human gene of each gene.
    """
    target = np.where(match.target >= 0, human[match.target], -1).astype(np.int32)
    known = target[target >= 0]
    summed = len(known) - len(np.unique(known))
    return replace(match, target=target, report=replace(match.report, summed=summed))


def panel_of(match: GeneMatch) -> NDArray[np.int64]:
    """Rows of the genes that the file measures, ascending, each once."""
    return np.unique(match.target[match.target >= 0]).astype(np.int64)


class LogCounts(NamedTuple):
    """Logs of scaled counts in rows: ``data``, ``indices``, ``indptr``; ``totals (n,)`` of known genes."""

    data: NDArray[np.float32]
    indices: NDArray[np.uint32]
    indptr: NDArray[np.int64]
    totals: NDArray[np.float64]

    def table(self, n_genes: int) -> Any:
        """The same as a scipy sparse matrix ``(n, g)``.

        Parameters
        ----------
        n_genes
            Columns of the file.
        """
        from scipy.sparse import csr_matrix

        indices = self.indices.astype(np.int32)
        return csr_matrix((self.data, indices, self.indptr), shape=(len(self.totals), n_genes))


def log_counts(block: CellBlock, match: GeneMatch, fractions: NDArray[np.float32]) -> LogCounts:
    """log(1 + 10,000 · s · x / t) of the counts x of known genes, columns that share a gene added up.

    t is the cell's total over the known genes, and s the fraction of a whole transcriptome's counts that the
    measured genes hold, so that a cell of a small panel is not taken for a deep one.

    Parameters
    ----------
    block
        Counts of ``n`` cells.
    match
        Where the file's genes lie among the ``h`` human genes.
    fractions
        ``(h,)`` mean fraction of a cell's counts that each gene holds.

    Returns
    -------
    Rows of values; a cell without counts in known genes is a row of zeros.

    Raises
    ------
    InputError
        If a value is negative, infinite or not a number, or the match belongs to another file.
    """
    rows = prepare(block, match)
    known = match.target >= 0
    scale = PER * float(fractions[panel_of(match)].sum(dtype=np.float64))
    logs, totals = np.empty(len(rows.indices), np.float32), np.zeros(len(block), np.float64)
    # A strip's values stay in the cache from the first step to the last.
    for start in range(0, len(block), _STRIP):
        indptr = rows.indptr[start : start + _STRIP + 1]
        span, lengths = slice(int(indptr[0]), int(indptr[-1])), np.diff(indptr)
        counts = (rows.data[span] * known[rows.indices[span]]).astype(np.float64)
        sums = np.bincount(np.repeat(np.arange(len(lengths)), lengths), counts, len(lengths))
        totals[start : start + len(lengths)] = sums
        counts *= np.repeat(scale / np.where(sums > 0, sums, 1), lengths)
        logs[span] = np.log1p(counts, out=counts)
    return LogCounts(logs, rows.indices, rows.indptr, totals)


def summed(logs: LogCounts, target: NDArray[np.int32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, d)`` sums over a cell's genes of log count times vector, one cell after the other.

    Parameters
    ----------
    logs
        Of ``n`` cells.
    target
        ``(g,)`` row of a column in ``vectors``, -1 for none.
    vectors
        ``(m, d)``, C-contiguous.
    """
    sums = np.zeros((len(logs.totals), vectors.shape[1]), np.float32)
    sum_rows = kernel("sum_rows", len(logs.data))
    sum_rows(logs.data, logs.indices, logs.indptr, target, vectors, sums)
    return sums
