"""A copy of an AnnData store with vectors added; what was there moves as it is, byte for byte."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from biolm.io.anndata.vectors import Addition
from biolm.io.cells.hdf5 import open_hdf5, writing_hdf5
from biolm.io.contained import open_zarr

__all__ = ["copy_h5ad", "copy_zarr"]


def copy_h5ad(source: Path, target: Path, result: Addition) -> None:
    """Copy an h5ad file and add vectors to the copy.

    The system copies the bytes of the file, which is several times faster than copying its objects
    one by one with HDF5 and never decodes a chunk; unused space inside the file is copied too.

    Parameters
    ----------
    source, target
        The file, and a path that does not exist.
    result
        What is added.
    """
    shutil.copyfile(source, target)
    # Looked at again: what was checked when the cells were read may not be what was copied.
    open_hdf5(target).close()
    with writing_hdf5(target, "r+") as root:
        result.add(root)


def copy_zarr(source: Path, target: Path, result: Addition) -> None:
    """Copy a zarr folder (format 2 or 3) and add vectors to the copy.

    Parameters
    ----------
    source, target
        The folder, and a path that does not exist.
    result
        What is added.
    """
    # Links stay links, so that the look at the copy finds those that lead out of it.
    shutil.copytree(source, target, symlinks=True, copy_function=_copy_file)
    # The summary of all metadata at the root would hide what is added, so it is read past, then renewed.
    summarised = open_zarr(target)[0].metadata.consolidated_metadata is not None
    root, _ = open_zarr(target, "r+", use_consolidated=False)
    result.add(root)
    if summarised:
        _summarise(root, target)


def _copy_file(source: str, target: str) -> str:
    return shutil.copyfile(source, target, follow_symlinks=False)


def _summarise(root: Any, folder: Path) -> None:
    """Write the summary of all metadata again, in an order that does not depend on the file system."""
    import zarr

    with warnings.catch_warnings():
        # The summary is not part of the specification of format 3; the input has one all the same.
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(root.store)
    for name in (".zmetadata", "zarr.json"):
        if (folder / name).exists():
            text = json.dumps(json.loads((folder / name).read_text()), indent=2, sort_keys=True)
            (folder / name).write_text(text)
