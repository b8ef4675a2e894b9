"""Loom files: a dense HDF5 matrix of genes x cells, with layers.

Layout: https://linnarssonlab.org/loompy/format/index.html

Dimensions: ``n`` cells of a slab · ``g`` genes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from biolm.errors import InputError
from biolm.io.cells.bands import BAND_VALUES, Band, BandedRows, sorted_by_cell
from biolm.io.cells.frame import as_text, read_values
from biolm.io.cells.hdf5 import is_hdf5, open_hdf5
from biolm.io.cells.rows import DenseRows, compress
from biolm.io.cells.source import OpenCells, Rows, Table, resolve_matrix
from biolm.io.damage import closed_on_failure

__all__ = ["open_file", "recognises"]

# Attributes that hold names, by preference, case aside; velocyto and loompy write the first.
CELL_NAMES = ("cellid", "cell_id", "obs_names", "cell_names", "barcode", "barcodes", "index")
GENE_NAMES = ("gene", "var_names", "gene_symbol", "gene_name", "gene_names", "symbol", "accession", "index")
# Above this, chunks hold so many cells that reading a few cells would decode most of the file.
SLAB_LIMIT = 1 << 27


def recognises(path: Path) -> bool:
    """Whether it is HDF5 with loom's groups."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return all(part in file for part in ("matrix", "row_attrs", "col_attrs"))


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open a loom file.

    Parameters
    ----------
    path
        Of the file.
    matrix
        ``X`` or a layer.
    """
    file = open_hdf5(path)
    offered = ["X", *(f"layers/{name}" for name in file.get("layers", ()))]
    with closed_on_failure(file):
        chosen = resolve_matrix(matrix, offered, path)
        dataset = file["matrix" if chosen == "X" else chosen]
        return OpenCells(
            path=path,
            kind="loom",
            matrix=chosen,
            rows=_rows(dataset, path),
            obs=_table(file["col_attrs"], CELL_NAMES, dataset.shape[1], path),
            var=_table(file["row_attrs"], GENE_NAMES, dataset.shape[0], path),
            offered=offered,
            on_close=file.close,
        )


def _rows(dataset: Any, path: Path) -> Rows:
    """Cells of a matrix ``(g, cells)``: slabs of columns, or bands of genes where chunks are too wide."""
    if len(dataset.shape) != 2 or dataset.dtype.kind not in "biuf":
        raise InputError(f"{path} holds no table of numbers in {dataset.name}; write it again")
    genes, cells = (int(size) for size in dataset.shape)
    width = dataset.chunks[1] if dataset.chunks else 1
    itemsize = int(dataset.dtype.itemsize)
    if genes * width * itemsize <= SLAB_LIMIT:
        return DenseRows((cells, genes), lambda a, b: dataset[:, a:b].T, itemsize=itemsize, slab=width)
    return BandedRows((cells, genes), partial(_bands, dataset))


def _bands(dataset: Any) -> Iterator[Band]:
    """Non-zero values of a few gene rows at a time."""
    genes, cells = dataset.shape
    # Whole chunks, so that none is unpacked twice.
    step = dataset.chunks[0] * max(1, BAND_VALUES // (cells * dataset.chunks[0]))
    for first in range(0, genes, step):
        values, cell, counts = compress(dataset[first : first + step])
        spans = np.concatenate([[0], np.cumsum(counts)])
        yield 0, sorted_by_cell(values, cell, spans, first, (cells, genes))


def _table(group: Any, names: tuple[str, ...], length: int, path: Path) -> Table:
    """Attributes of cells or genes; numbered where the file names none."""
    for name, node in group.items():
        if name.lower() in names and getattr(node, "shape", (length,)) != (length,):
            raise InputError(
                f"{path} is damaged: {group.name}/{name} names {len(node):,} of {length:,}; "
                "write it again from its source"
            )
    # loompy also stores matrices of embeddings among the attributes.
    fitting = {name: node for name, node in group.items() if getattr(node, "shape", None) == (length,)}
    columns = {name: partial(read_values, node) for name, node in fitting.items()}
    known = {name.lower(): name for name in columns}
    index = next((known[name] for name in names if name in known), None)
    if index is None:
        return Table(lambda: np.arange(length).astype(np.str_), columns)
    read = columns.pop(index)
    return Table(lambda: as_text(read()), columns)
