"""Genes of value 0 beside the expressed ones: what was measured and not found, for objectives that learn it.

Dimensions: ``n`` cells of a block · ``g`` gene columns of the file · ``t`` tokens · ``z`` zeros of a cell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.draws import cell_seeds, uniform
from biolm.batch import Tokens
from biolm.errors import InputError
from biolm.io.cells.block import CellBlock

__all__ = ["add_zeros"]


def add_zeros(
    tokens: Tokens,
    block: CellBlock,
    token_of: NDArray[np.int32],
    most: int,
    *,
    seed: int,
    epoch: int,
    keys: NDArray[np.int64] | None = None,
) -> Tokens:
    """Put some genes that a cell does not express at its end, with the value 0.

    Parameters
    ----------
    tokens
        Of the cells of the block, with values.
    block
        The cells: a gene that is expressed and has no token, in a cell that was cut, is no zero.
    token_of
        ``(g,)`` token of each gene column of the file; -1 for genes outside the vocabulary.
    most
        ``z``; a cell that expresses nearly all measured genes has fewer.
    seed, epoch
        Of the run; each epoch draws other genes.
    keys
        ``(n,)`` number of each cell in the whole data set; its row number by default. Which genes a cell gets
        depends on seed, epoch, its number and its expressed genes alone.

    Returns
    -------
    The tokens, zeros in ascending order behind each cell's own.

    Raises
    ------
    InputError
        If the tokens have no values.

    Examples
    --------
    >>> block = CellBlock(0, np.array([3.0]), np.array([1], np.int32), np.array([0, 1]), 4)
    >>> own = Tokens(ids=np.array([11], np.int32), offsets=np.array([0, 1]), index=np.zeros(1, np.int64),
    ...              values=np.array([3.0], np.float32))
    >>> made = add_zeros(own, block, np.arange(10, 14, dtype=np.int32), 9, seed=0, epoch=0)
    >>> made.ids.tolist(), made.values.tolist()
    ([11, 10, 12, 13], [3.0, 0.0, 0.0, 0.0])
    """
    if tokens.values is None:
        raise InputError("genes of value 0 need tokens with values; use an adapter of bins or expression")
    measured = np.unique(token_of[token_of >= 0])
    seeds = cell_seeds(block.numbers if keys is None else keys, seed, epoch)
    ids, lengths = [], np.empty(len(block), np.int64)
    for cell in range(len(block)):
        stored = slice(block.indptr[cell], block.indptr[cell + 1])
        expressed = token_of[block.indices[stored][block.data[stored] > 0]]
        absent = np.ones(len(measured), bool)
        absent[np.searchsorted(measured, expressed[expressed >= 0])] = False
        zeros = measured[absent]
        if len(zeros) > most:
            number = uniform((seeds[0][cell], seeds[1][cell]), zeros)
            zeros = np.sort(zeros[np.argpartition(number, most)[:most]])
        own = tokens.ids[tokens.offsets[cell] : tokens.offsets[cell + 1]]
        ids += [own, zeros]
        lengths[cell] = len(own) + len(zeros)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.zeros(offsets[-1], tokens.values.dtype)
    place = np.arange(len(tokens.ids)) + np.repeat(offsets[:-1] - tokens.offsets[:-1], tokens.lengths)
    values[place] = tokens.values
    whole = np.concatenate(ids) if ids else tokens.ids
    return Tokens(ids=whole.astype(np.int32), offsets=offsets, index=tokens.index, values=values)
