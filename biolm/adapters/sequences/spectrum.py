"""Sequences as tables without a model: k-mer frequencies, and the letters round each letter.

Dimensions: ``n`` records · ``r`` letters of all of them · ``m`` k-mers · ``w`` letters of a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biolm.adapters.sequences.clusters import words_of
from biolm.adapters.sequences.kind import looks_like
from biolm.io.sequences.block import SequenceBlock

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["kmer_table", "window_table"]

_LETTERS = 26  # of the alphabet, in either case
_WIDTH = _LETTERS + 1  # and one for all others


def kmer_table(block: SequenceBlock, *, protein: bool | None = None, k: int = 0) -> csr_matrix:
    """Square roots of the frequency of each k-mer, so that every row has length 1.

    Parameters
    ----------
    block
        Proteins, or DNA, of which either strand counts.
    protein
        Which of the two; by default as the letters look.
    k
        Letters of a k-mer; 0 for 3 residues or 6 bases.

    Returns
    -------
    Sparse float32 ``(n, m)``: 20 or 4 to the power of ``k`` columns; rows without a k-mer are empty.

    Examples
    --------
    >>> table = kmer_table(SequenceBlock.of(["ACAC", "GTGT"]), protein=False, k=2)
    >>> table.shape, bool((table[0] != table[1]).nnz)
    ((2, 16), False)
    """
    from scipy.sparse import csr_matrix

    protein = looks_like(block) in ("protein", "unknown") if protein is None else protein
    k = k or (3 if protein else 6)
    words, record = words_of(block, k, protein=protein)
    shape = (len(block), (20 if protein else 4) ** k)
    table = csr_matrix((np.ones(len(words)), (record, words)), shape=shape)
    table.sum_duplicates()
    totals = np.maximum(np.asarray(table.sum(1)).ravel(), 1)
    table.data = np.sqrt(table.data / np.repeat(totals, np.diff(table.indptr)))
    return table.astype(np.float32)


def window_table(block: SequenceBlock, reach: int = 7) -> csr_matrix:
    """Which letters stand round each letter: one of 27 (A to Z, others) at each of ``2 * reach + 1`` places.

    Parameters
    ----------
    block
        The sequences.
    reach
        Letters to each side.

    Returns
    -------
    Sparse float32 ``(r, w * 27)``; places beyond the ends of a record are empty.

    Examples
    --------
    >>> window_table(SequenceBlock.of(["MK", "A"]), reach=1).sum(1).ravel().tolist()
    [[2.0, 2.0, 1.0]]
    """
    from scipy.sparse import csr_matrix

    letters = block.letters.astype(np.int64)
    codes = np.where(letters >= 97, letters - 97, letters - 65)
    codes = np.where((codes >= 0) & (codes < _LETTERS), codes, _LETTERS)
    record = np.repeat(np.arange(len(block)), block.lengths)
    size, rows, columns = len(codes), [], []
    here = np.arange(size)
    for place, step in enumerate(range(-reach, reach + 1)):
        there = here + step
        inside = (there >= 0) & (there < size)
        inside[inside] &= record[there[inside]] == record[here[inside]]
        rows.append(here[inside])
        columns.append(place * _WIDTH + codes[there[inside]])
    row, column = np.concatenate(rows), np.concatenate(columns)
    shape = (size, (2 * reach + 1) * _WIDTH)
    return csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)
