"""A whole AnnData in memory from a file of others, after the looks that reading by blocks takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.errors import InputError
from biolm.io.cells.hdf5 import open_hdf5
from biolm.io.contained import check_zarr
from biolm.io.damage import damage_named

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["read_anndata"]


@damage_named("the AnnData")
def read_anndata(path: str | Path, *, backed: bool = False) -> AnnData:
    """Read an h5ad file, or a zarr folder or zip file, whole.

    Parameters
    ----------
    path
        It.
    backed
        Leave ``X`` of an h5ad on disk.

    Raises
    ------
    InputError
        If it is missing or damaged, leads out of itself, or a sparse matrix does not fit its size: what works
        on one of those writes and reads beside the memory of its arrays.
    """
    import anndata

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir() or path.suffix == ".zip":
        check_zarr(path)
        table = anndata.read_zarr(path)
    else:
        open_hdf5(path).close()
        table = anndata.read_h5ad(path, backed="r" if backed else None)
    for matrix in _matrices(table, backed=table.isbacked):
        if hasattr(matrix, "indptr"):
            # scipy trusts pointers of a file; damaged ones would read beyond the arrays.
            matrix.check_format(full_check=True)
    return table


def _matrices(table: AnnData, *, backed: bool) -> list[Any]:
    """Everything that may be a sparse matrix in memory."""
    matrices = [*table.layers.values(), *table.obsm.values(), *table.varm.values()]
    matrices += [*table.obsp.values(), *table.varp.values()]
    if not backed:
        matrices += [table.X, *([] if table.raw is None else [table.raw.X])]
    return matrices
