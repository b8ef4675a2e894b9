"""Make synthetic single-cell files of any size, quickly and always the same for a seed.

Dimensions: ``n`` cells · ``g`` genes · ``p`` cells of the pool.

Counts follow a Poisson model: a gene's fraction of the library is log-normal over genes (the heavy tail of
real libraries), a cell's depth is log-normal over cells. A pool of cells is drawn once and sampled with
replacement, because drawing 20,000 genes for every one of a million cells would take longer than any
benchmark that reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["CellPool", "make_pool", "write_h5ad"]

POOL_CELLS = 2_048
GENE_SPREAD = 1.9  # log-normal sigma over genes: the top 1 % of genes then hold about a third of the counts
DEPTH_SPREAD = 0.33  # log-normal sigma over cells: 5-95 % of cells express 1,400 to 3,000 of 20,000 genes
BLOCK_CELLS = 4_096


class CellPool:
    """Distinct cells to sample from: CSR arrays ``data``, ``indices``, ``indptr (p + 1,)``."""

    def __init__(
        self, data: NDArray[np.float32], indices: NDArray[np.int32], indptr: NDArray[np.int64]
    ) -> None:
        self.data, self.indices, self.indptr = data, indices, indptr

    def take(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Values and gene columns of the pool's cells ``rows``, end to end."""
        starts, stops = self.indptr[rows], self.indptr[rows + 1]
        spans = list(zip(starts.tolist(), stops.tolist(), strict=True))
        data = np.concatenate([self.data[a:b] for a, b in spans])
        return data, np.concatenate([self.indices[a:b] for a, b in spans])


def make_pool(
    *, n_genes: int = 20_000, mean_nonzero: float = 2_141, cells: int = POOL_CELLS, seed: int = 0
) -> CellPool:
    """Draw ``cells`` distinct cells that express ``mean_nonzero`` genes on average."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0.0, GENE_SPREAD, n_genes)
    share /= share.sum()
    spread = rng.lognormal(-(DEPTH_SPREAD**2) / 2, DEPTH_SPREAD, cells)
    depth = _depth_for(share, mean_nonzero) * spread
    data, indices, lengths = [], [], []
    for start in range(0, cells, 128):
        counts = rng.poisson(depth[start : start + 128, None] * share)
        row, column = np.nonzero(counts)
        data.append(counts[row, column].astype(np.float32))
        indices.append(column.astype(np.int32))
        lengths.append(np.bincount(row, minlength=len(counts)))
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return CellPool(np.concatenate(data), np.concatenate(indices), indptr)


def _depth_for(share: NDArray[np.float64], mean_nonzero: float) -> float:
    """Library size at which a cell is expected to express ``mean_nonzero`` genes."""
    low, high = 1.0, 1e9
    for _ in range(60):
        middle = (low * high) ** 0.5
        expected = -np.expm1(-middle * share).sum()
        low, high = (middle, high) if expected < mean_nonzero else (low, middle)
    return low


def write_h5ad(
    path: str | Path,
    n_cells: int,
    *,
    n_genes: int = 20_000,
    mean_nonzero: float = 2_141,
    compression: str | None = None,
    seed: int = 0,
    genes: Sequence[str] | None = None,
) -> None:
    """Write ``n_cells`` synthetic cells as an h5ad with CSR float32 whole-number counts.

    Parameters
    ----------
    path
        File to write; replaced if it exists.
    n_cells
        ``n``; memory stays bounded whatever it is.
    n_genes, mean_nonzero
        ``g`` and the mean number of expressed genes a cell.
    compression
        ``None`` (contiguous), ``gzip`` (level 4) or ``lzf``, as anndata would write it.
    seed
        Same seed, same bytes of data.
    genes
        ``(g,)`` var index; ids that look like Ensembl's by default.
    """
    names = list(genes) if genes is not None else [f"ENSG{number:011d}" for number in range(1, n_genes + 1)]
    if len(names) != n_genes:
        raise ValueError(f"{len(names)} gene names for {n_genes} genes")
    pool = make_pool(n_genes=n_genes, mean_nonzero=mean_nonzero, seed=seed)
    pick = np.random.default_rng([seed, 1]).integers(0, len(pool.indptr) - 1, n_cells)
    indptr = np.concatenate([[0], np.cumsum(np.diff(pool.indptr)[pick])])
    with h5py.File(path, "w") as file:
        _mark(file, "anndata", "0.1.0")
        matrix = file.create_group("X")
        _mark(matrix, "csr_matrix", "0.1.0")
        matrix.attrs["shape"] = np.array([n_cells, n_genes])
        matrix.create_dataset("indptr", data=indptr)
        data = matrix.create_dataset("data", (indptr[-1],), np.float32, compression=compression)
        indices = matrix.create_dataset("indices", (indptr[-1],), np.int32, compression=compression)
        for start in range(0, n_cells, BLOCK_CELLS):
            stop = min(start + BLOCK_CELLS, n_cells)
            span = slice(int(indptr[start]), int(indptr[stop]))
            data[span], indices[span] = pool.take(pick[start:stop])
        _write_table(file.create_group("obs"), [f"cell_{number}" for number in range(n_cells)])
        _write_table(file.create_group("var"), names)
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            _mark(file.create_group(name), "dict", "0.1.0")


def _mark(node: h5py.Group, kind: str, version: str) -> None:
    """The encoding attributes that anndata writes."""
    node.attrs["encoding-type"], node.attrs["encoding-version"] = kind, version


def _write_table(group: h5py.Group, names: Sequence[str]) -> None:
    """An obs or var table that holds nothing but its index."""
    _mark(group, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs["column-order"] = np.array([], dtype=h5py.string_dtype())
    index = group.create_dataset("_index", data=np.array(names, dtype=object), dtype=h5py.string_dtype())
    _mark(index, "string-array", "0.2.0")
