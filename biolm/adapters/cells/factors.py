"""Cells as a factor model reads them: logs of counts that are scaled to what the gene panel can hold.

Dimensions: ``n`` cells of a block · ``g`` gene columns of the file · ``h`` human genes · ``d`` factors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import prepare
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

__all__ = ["PER", "human_match", "log_counts", "panel_of"]

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


def log_counts(block: CellBlock, match: GeneMatch, fractions: NDArray[np.float32]) -> Any:
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
    scipy sparse ``(n, g)`` float32; a cell without counts in known genes is a row of zeros.

    Raises
    ------
    InputError
        If a value is negative, infinite or not a number, or the match belongs to another file.
    """
    from scipy.sparse import csr_matrix

    rows = prepare(block, match)
    indices, known = rows.indices.astype(np.int32), match.target >= 0
    scale = PER * float(fractions[panel_of(match)].sum(dtype=np.float64))
    logs = np.empty(len(indices), np.float32)
    # A strip's values stay in the cache from the first step to the last.
    for start in range(0, len(block), _STRIP):
        indptr = rows.indptr[start : start + _STRIP + 1]
        span = slice(int(indptr[0]), int(indptr[-1]))
        counts = (rows.data[span] * known[indices[span]]).astype(np.float64)
        shape = len(indptr) - 1, block.n_genes
        totals = np.asarray(csr_matrix((counts, indices[span], indptr - indptr[0]), shape).sum(1)).ravel()
        counts *= np.repeat(scale / np.where(totals > 0, totals, 1), np.diff(indptr))
        logs[span] = np.log1p(counts, out=counts)
    return csr_matrix((logs, indices, rows.indptr), shape=(len(block), block.n_genes))
