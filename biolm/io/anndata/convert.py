"""An AnnData store moved between HDF5 and zarr: every group, array and attribute, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.io.anndata.elements import new_array
from biolm.io.anndata.vectors import Addition
from biolm.io.cells.frame import decoded
from biolm.io.cells.hdf5 import open_hdf5, writing_hdf5
from biolm.io.contained import open_zarr

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["convert", "creating", "reading", "write_anndata"]

# Bytes of one array in memory at a time.
_BYTES = 2**25


def convert(source: Path, target: Path, form: str, result: Addition) -> None:
    """Write everything of an AnnData store, and the vectors, as an ``h5ad`` file or ``zarr`` folder.

    Parameters
    ----------
    source
        The store.
    target
        Path that does not exist.
    form
        ``h5ad`` or ``zarr``.
    result
        What is added.
    """
    with reading(source) as old, creating(target, form) as new:
        _copy(old, new)
        result.add(new)


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """The root group of an h5ad file or a zarr folder or zip file."""
    if path.is_file() and path.suffix != ".zip":
        with open_hdf5(path) as root:
            yield root
    else:
        group, store = open_zarr(path)
        with closing(store):
            yield group


@contextmanager
def creating(path: Path, form: str) -> Iterator[Any]:
    """An empty root group to fill: HDF5, or zarr format 2 as anndata writes it by default.

    Parameters
    ----------
    path
        That does not exist.
    form
        ``h5ad`` or ``zarr``.
    """
    if form == "h5ad":
        with writing_hdf5(path) as file:
            yield file
    else:
        import zarr

        yield zarr.open_group(path, mode="w", zarr_format=2)


def write_anndata(adata: AnnData, target: Path) -> None:
    """Write an AnnData that is in memory as ``h5ad``.

    Parameters
    ----------
    adata
        Its columns of few texts become categories.
    target
        Path to write.

    Raises
    ------
    OSError
        If it cannot be written, to a full disk say.
    """
    from anndata.io import write_elem

    # As anndata itself does before it writes.
    adata.strings_to_categoricals()
    with creating(target, "h5ad") as file:
        write_elem(file, "/", adata)


def _copy(old: Any, new: Any) -> None:
    """Copy attributes and members of a group."""
    _attributes(old, new)
    # zarr lists members in the order of the folder, which differs between machines.
    for name in sorted(old.keys()):
        member = old[name]
        if hasattr(member, "keys"):
            _copy(member, new.create_group(name))
        elif member.attrs.get("encoding-type") != "null":
            _copy_array(member, new, name)


def _attributes(old: Any, new: Any) -> None:
    # h5py holds its lock while its items() are gone through. zarr writes in threads of its own, and one that
    # comes to throw a closed HDF5 file away there would wait for that lock, and this one for it, for ever.
    for key in list(old.attrs):
        value = old.attrs[key]
        new.attrs[key] = value.tolist() if hasattr(value, "tolist") else value


def _copy_array(old: Any, group: Any, name: str) -> None:
    """Copy one array in row pieces."""
    text = old.dtype.kind in "OTUS"
    new = new_array(group, name, old.shape, str if text else old.dtype, kind=None)
    _attributes(old, new)
    if not old.shape:
        new[...] = _as_text(old[()]) if text else old[()]
        return
    width = 64 if text else old.dtype.itemsize
    rows = max(1, _BYTES // max(1, int(np.prod(old.shape[1:])) * width))
    for start in range(0, old.shape[0], rows):
        piece = old[start : start + rows]
        new[start : start + rows] = _as_text(piece) if text else piece


def _as_text(values: Any) -> Any:
    """Text as objects: what HDF5 gives as bytes, decoded."""
    decode = np.vectorize(
        lambda text: decoded(text) if isinstance(text, bytes) else str(text), otypes=[object]
    )
    return decode(values)
