"""Opening HDF5 files, and saying why one cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biolm.errors import InputError

__all__ = ["is_hdf5", "open_hdf5", "why_not_hdf5"]

MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as HDF5 files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_hdf5(path: Path) -> Any:
    """Open for reading.

    Raises
    ------
    InputError
        If it is truncated or damaged.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(why_not_hdf5(path)) from error


def why_not_hdf5(path: Path) -> str:
    """One sentence on a file that cannot be read as HDF5."""
    if is_hdf5(path):
        return f"{path} is truncated or damaged: its HDF5 content ends early; copy or download it again"
    return f"{path} is not an HDF5 file, whatever its name says; check how it was made or downloaded"
