"""Opening HDF5 files, and saying why one cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.contained import check_hdf5

__all__ = ["is_hdf5", "open_hdf5", "why_not_hdf5"]

MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as HDF5 files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_hdf5(path: Path, mode: str = "r") -> Any:
    """Open a file that leads to no other.

    Parameters
    ----------
    path
        Of the file.
    mode
        As of ``h5py.File``.

    Raises
    ------
    InputError
        If it is truncated or damaged, or holds what is stored outside it (:func:`check_hdf5`).
    """
    import h5py

    file = None
    try:
        file = h5py.File(path, "r")
        check_hdf5(file, path)
        if mode != "r":
            file.close()
            file = h5py.File(path, mode)
        return file
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, OSError | RuntimeError | KeyError | ValueError):
            raise InputError(why_not_hdf5(path)) from error
        raise


def why_not_hdf5(path: Path) -> str:
    """One sentence on a file that cannot be read as HDF5."""
    if is_hdf5(path):
        return f"{path} is truncated or damaged: its HDF5 content ends early; copy or download it again"
    return f"{path} is not an HDF5 file, whatever its name says; check how it was made or downloaded"
