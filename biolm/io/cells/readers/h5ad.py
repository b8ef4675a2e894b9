"""AnnData's h5ad files, read with h5py alone (importing anndata costs seconds)."""

from __future__ import annotations

from pathlib import Path

from biolm.io.cells.anndata_store import open_store
from biolm.io.cells.chunks import hdf5_column
from biolm.io.cells.hdf5 import is_hdf5, open_hdf5
from biolm.io.cells.source import OpenCells

__all__ = ["open_file", "recognises"]


def recognises(path: Path) -> bool:
    """Whether it is HDF5 with the name or the content of an h5ad."""
    if not is_hdf5(path):
        return False
    # By its name alone, so that a broken one is called a broken h5ad and not an unknown file.
    if path.suffix == ".h5ad":
        return True
    with open_hdf5(path) as file:
        return "obs" in file and "var" in file


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open an h5ad.

    Parameters
    ----------
    path
        Of the file.
    matrix
        ``X``, ``raw`` or a layer.
    """
    file = open_hdf5(path)
    return open_store(file, path, "h5ad", matrix, column=hdf5_column, on_close=file.close)
