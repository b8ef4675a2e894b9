"""Sparse batches of cells from any table, shuffled: the loader face for loops of one's own.

Dimensions: ``n`` cells of the table · ``b`` cells of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biolm.errors import ConfigError
from biolm.io.cells import CellBlock, CellSource, open_cells
from biolm.training.data.plan import Plan

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["cell_batches"]


def cell_batches(
    data: str | Path | AnnData | CellSource,
    *,
    size: int = 64,
    seed: int = 0,
    epoch: int = 0,
    chunk: int | None = None,
    pool: int = 4096,
    shuffle: bool = True,
    matrix: str = "X",
) -> Iterator[CellBlock]:
    """Cells in batches, each once, in an order that depends on seed and epoch alone.

    Parameters
    ----------
    data
        Any table of cells that :func:`biolm.io.cells.open_cells` opens, or an open one.
    size
        ``b``; batches at the end of a pool may be smaller.
    seed, epoch
        Of the order.
    chunk
        Neighbouring cells that are read together. By default 1, a true random order, where rows are read in
        any order at the same cost (stores of ``biolm pack``), and else 64.
    pool
        Cells shuffled at a time, out of shuffled chunks.
    shuffle
        Off for the order of the table.
    matrix
        As for :func:`~biolm.io.cells.open_cells`.

    Yields
    ------
    Blocks ``(b, genes)`` in compressed sparse row form; ``numbers`` are the rows of the cells.

    Raises
    ------
    ConfigError
        If a size is not positive.
    InputError
        If the data cannot be read.

    Examples
    --------
    >>> batch = next(cell_batches("data/cells/pbmc_cite_10k.h5ad", size=8))
    >>> len(batch), batch.n_genes
    (8, 16727)
    """
    for name, value in (("size", size), ("chunk", chunk or 1), ("pool", pool)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}")
    if isinstance(data, str | Path) or hasattr(data, "obsm"):
        with open_cells(data, matrix=matrix) as source:
            yield from cell_batches(
                source, size=size, seed=seed, epoch=epoch, chunk=chunk, pool=pool, shuffle=shuffle
            )
        return
    source = data
    width = chunk or (1 if source.kind == "store" else 64)
    plan = Plan(
        rows=np.arange(source.n_cells),
        lengths=np.ones(source.n_cells, np.int64),
        seed=seed,
        chunk=width,
        pool=pool,
        budget=size,
        shuffle=shuffle,
    )
    for batches in plan.epoch(epoch):
        if source.random_access:
            yield from map(source.take, batches)
        else:
            # Files are read forwards, once for a pool; its batches are then taken out of memory.
            rows = np.sort(np.concatenate(batches))
            block = source.take(rows)
            for batch in batches:
                yield block.take(np.searchsorted(rows, batch))
