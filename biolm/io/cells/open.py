"""Open any table of cells: find out what it is, hand it to the reader of that format.

A format is one module in :mod:`biolm.io.cells.readers` that offers ``recognises(path)`` and
``open_file(path, matrix)``, and ``open_turned(path, matrix)`` where its tables may lie genes x cells.
Modules there are found by listing the package, so that adding a format is adding a file. They import their
libraries inside functions: listing them costs milliseconds.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from biolm.errors import ConfigError, InputError
from biolm.io.cells import readers
from biolm.io.cells.block import CellSource
from biolm.io.cells.hdf5 import is_hdf5, why_not_hdf5
from biolm.io.cells.source import TRANSPOSED, OpenCells
from biolm.io.damage import naming_damage
from biolm.io.sequences import named_as_sequences

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Reader", "open_cells"]

HDF5_NAMES = {".h5ad", ".h5", ".hdf5", ".loom"}


class Reader(Protocol):
    """What a module in :mod:`biolm.io.cells.readers` offers."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether this existing file or folder is of the format, by its content."""
        ...

    @staticmethod
    def open_file(path: Path, matrix: str) -> CellSource:
        """Open it.

        Parameters
        ----------
        path
            Of the file.
        matrix
            ``X``, ``raw/X`` or ``layers/NAME``; with the mark of genes x cells where it is turned.
        """
        ...


def open_cells(source: str | Path | AnnData, *, matrix: str = "X", transpose: bool = False) -> CellSource:
    """Open a table of cells for reading in row blocks.

    Parameters
    ----------
    source
        An h5ad file; an AnnData zarr store (folder or ``.zip``); a loom file; a 10x ``.h5`` file or mtx
        folder; a csv or tsv table (cells x genes with a header, cell names first, gzipped or not); or
        an AnnData object, in memory or backed.
    matrix
        ``X``, ``raw`` (the same as ``raw/X``), ``layers/NAME`` or just ``NAME`` of a layer. Where a matrix
        holds features of several types, these are its genes; ``NAME`` of another type reads that instead.
    transpose
        The table is genes x cells; text tables and mtx folders only. The matrix is then spelled with
        `` (transposed)`` behind it, which may be given in its place.

    Returns
    -------
    An open source; close it or use it as a context manager.

    Raises
    ------
    InputError
        If the file is missing, damaged, empty or of no known format, or holds no such matrix.
    ConfigError
        If it is to be transposed and is of a format in which that is not read.

    Examples
    --------
    >>> with open_cells("data/cells/pbmc_cite_10k.h5ad") as cells:
    ...     cells.kind, cells.n_cells, cells.n_genes
    ('h5ad', 200, 16727)
    """
    turned = transpose or matrix.endswith(TRANSPOSED)
    matrix = matrix.removesuffix(TRANSPOSED)
    if not isinstance(source, (str, Path)):
        from biolm.io.cells.memory import open_memory

        if turned:
            raise ConfigError("an AnnData is not transposed while it is read; give adata.T")
        return open_memory(source, matrix)
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    # Before any reader tries: their errors would call the content damaged.
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read: permission denied")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is an empty file; write or copy it again")
    with naming_damage(path):
        for reader in _readers():
            if reader.recognises(path):
                return _turned(reader, path, matrix) if turned else reader.open_file(path, matrix)
    raise InputError(_unknown(path))


def _turned(reader: Reader, path: Path, matrix: str) -> CellSource:
    """Open a table of genes x cells with a reader that offers it."""
    turned = getattr(reader, "open_turned", None)
    if turned is None:
        raise ConfigError(
            f"{path} cannot be transposed while it is read (`transpose=True` is for text and mtx); "
            "write it as cells x genes first, as with adata.T"
        )
    source: OpenCells = turned(path, matrix)
    # Whoever opens the matrix again by its spelling reads it the same way.
    source.matrix += TRANSPOSED
    source.offered = [name + TRANSPOSED for name in source.offered]
    return source


def _readers() -> list[Reader]:
    """Every reader module, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(readers.__path__))
    return [cast(Reader, importlib.import_module(f"{readers.__name__}.{name}")) for name in names]


def _unknown(path: Path) -> str:
    """Say what a file that no reader recognises seems to be."""
    if path.is_dir():
        return (
            f"{path} is a folder, but neither an AnnData zarr store nor a 10x folder with matrix.mtx; "
            "give the file or folder that holds the cells"
        )
    if is_hdf5(path):
        return f"{path} is HDF5, but neither an h5ad, a loom nor a 10x file: it has none of their groups"
    if path.suffix in HDF5_NAMES:
        return why_not_hdf5(path)
    if path.is_file() and (letters := _sequences(path)):
        return f"{path} holds sequences ({letters}), no cells; give a file of cells, or a model of sequences"
    return f"{path} is none of the known formats: h5ad, zarr, loom, 10x .h5 or mtx folder, csv, tsv"


def _sequences(path: Path) -> str:
    """How a file of sequences is recognised, by first byte or name; empty where it seems something else."""
    with path.open("rb") as file:
        first = file.read(1)
    named = "by its name" if named_as_sequences(path) else ""
    return {b">": "FASTA", b"@": "FASTQ"}.get(first, named)
