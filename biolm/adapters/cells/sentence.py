"""A cell as a sentence of its most expressed genes, as CELLama writes it.

Dimensions: ``n`` cells of a block · ``g`` gene columns of the file · ``m`` genes of the vocabulary.

Source of the wording: CELLama (Choi et al. 2024, Apache-2.0), ``cell_to_sentence``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import prepare
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

__all__ = ["cell_sentence", "top_genes"]


def top_genes(block: CellBlock, match: GeneMatch, count: int = 30) -> list[NDArray[np.int32]]:
    """The most expressed genes of each cell, as rows of the vocabulary.

    By falling value, ties by row. A cell that expresses fewer than ``count`` genes is filled up with genes
    of the file that it does not express, the last first, as the published code does; a cell that expresses
    none gets an empty list.

    Parameters
    ----------
    block
        The cells.
    match
        Where their genes go.
    count
        Genes a cell.

    Raises
    ------
    InputError
        If a value is negative, infinite or not a number, or the match belongs to another file.
    """
    rows = prepare(block, match)
    panel = np.unique(match.target[match.target >= 0])[::-1]
    cells = []
    for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        genes, values = match.target[rows.indices[start:stop]], rows.data[start:stop]
        kept = (genes >= 0) & (values > 0)
        genes, values = genes[kept], values[kept]
        top = genes[np.lexsort((genes, -values))[:count]]
        if 0 < len(top) < count:
            spare = panel[~np.isin(panel, genes)]
            top = np.concatenate([top, spare[: count - len(top)]])
        cells.append(top.astype(np.int32))
    return cells


def cell_sentence(genes: Sequence[str], about: Mapping[str, str] | None = None) -> str:
    """What CELLama's encoder reads.

    Parameters
    ----------
    genes
        Names by falling expression, at least one.
    about
        What else is said of the cell: ``{"tissue": "spleen"}``.

    Examples
    --------
    >>> cell_sentence(["CD3D", "IL7R", "LTB"], {"tissue": "spleen"})
    'Top genes are CD3D, IL7R, and LTB. tissue of this cell is spleen.'
    >>> cell_sentence(["CD3D"])
    'Top gene is CD3D.'
    """
    if len(genes) == 1:
        sentence = f"Top gene is {genes[0]}."
    else:
        sentence = f"Top genes are {', '.join(genes[:-1])}, and {genes[-1]}."
    return sentence + "".join(f" {key} of this cell is {value}." for key, value in (about or {}).items())
