"""The ``.h5`` matrices of 10x Cell Ranger: version 3 and later, and the legacy layout of version 2.

Layout: https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.chunks import hdf5_column
from biolm.io.cells.features import feature_types, typed_cells
from biolm.io.cells.frame import as_text, read_values
from biolm.io.cells.hdf5 import is_hdf5, open_hdf5
from biolm.io.cells.rows import CsrRows, stored_values
from biolm.io.cells.source import OpenCells, Table, resolve_matrix

__all__ = ["open_file", "recognises"]

LEGACY = ("barcodes", "data", "genes", "indices", "indptr", "shape")


def recognises(path: Path) -> bool:
    """Whether it is HDF5 with 10x groups."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return "matrix/features" in file or bool(_genomes(file))


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open a 10x file; ``X`` is the gene expression, other feature types go by their name.

    In legacy files of several genomes, ``matrix`` names the genome.

    Parameters
    ----------
    path
        Of the file.
    matrix
        ``X``, a type of features or a genome.
    """
    file = open_hdf5(path)
    try:
        if "matrix/features" in file:
            return _version_3(file, path, matrix)
        genomes = _genomes(file)
        names = ["X"] if len(genomes) == 1 else genomes
        genome = resolve_matrix(matrix, names, path)
        return _legacy(file, genomes[0] if genome == "X" else genome, path, names, genome)
    except KeyError as error:
        file.close()
        raise InputError(f"{path} is not a whole 10x file: {str(error).strip(chr(34))}") from error
    except BaseException:
        file.close()
        raise


def _genomes(file: Any) -> list[str]:
    """Groups in the legacy layout, one a genome."""
    groups = [(name, node) for name, node in file.items() if hasattr(node, "keys")]
    return [name for name, node in groups if all(part in node for part in LEGACY)]


def _version_3(file: Any, path: Path, matrix: str) -> OpenCells:
    """One group ``matrix`` that holds features of several types."""
    group = file["matrix"]
    stored = group["features"]
    # Probe-level files name the probe in "id" and the gene beside it.
    gene = "gene_id" if "gene_id" in stored else "id"
    columns = {"gene_ids": gene, "feature_types": "feature_type", "genome": "genome"}
    var = Table(
        partial(_text_of, stored["name"]),
        {to: partial(_text_of, stored[name]) for to, name in columns.items() if name in stored},
    )
    types = feature_types(var)
    offered = list(types) or ["X"]
    chosen = resolve_matrix(matrix, offered, path)
    return typed_cells(
        types,
        chosen,
        path=path,
        kind="10x-h5",
        matrix=chosen,
        rows=_rows(group, path),
        obs=Table(partial(_text_of, group["barcodes"])),
        var=var,
        offered=offered,
        on_close=file.close,
    )


def _text_of(node: Any) -> NDArray[np.str_]:
    """A stored column as strings."""
    return as_text(read_values(node))


def _legacy(file: Any, genome: str, path: Path, offered: list[str], chosen: str) -> OpenCells:
    """One group a genome."""
    group = file[genome]
    index = "gene_names" if "gene_names" in group else "genes"
    others = [name for name in _genomes(file) if name != genome]
    left_out = f"{path} holds several genomes: {genome} is read, {' and '.join(others)} left out (`layer`)"
    return OpenCells(
        path=path,
        kind="10x-h5",
        matrix=chosen,
        rows=_rows(group, path),
        obs=Table(partial(read_values, group["barcodes"])),
        var=Table(partial(read_values, group[index]), {"gene_ids": partial(read_values, group["genes"])}),
        offered=offered,
        on_close=file.close,
        notes=(left_out,) if others else (),
    )


def _rows(group: Any, path: Path) -> CsrRows:
    """The matrix is stored by barcode, so its columns are the rows wanted here."""
    genes, cells = (int(size) for size in group["shape"][...])
    data, indices = group["data"], group["indices"]
    length = stored_values(data, indices, genes, path)
    return CsrRows(
        (cells, genes),
        group["indptr"][...],
        hdf5_column(data),
        hdf5_column(indices),
        length=length,
        name=path,
    )
