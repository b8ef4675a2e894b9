"""Vectors or values of genes with a row each in a new table, not in a copy of the input.

Dimensions: ``n`` rows · ``d`` width of the embedding, or genes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.anndata.convert import creating
from biolm.io.anndata.elements import child, put_frame, tag
from biolm.io.anndata.result import STORES
from biolm.io.anndata.table import write_npy, write_parquet
from biolm.io.anndata.vectors import Addition, CellVectors
from biolm.io.table import side_car

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Rows", "rows_to_anndata", "write_new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the rows, or the genes, of a new table are.

    Parameters
    ----------
    index
        ``(n,)`` a name for each.
    columns
        ``(n,)`` each, by name.
    beside
        More for the JSON file beside a numpy array.
    names
        Names for that file, where they are not those of the rows.
    """

    index: NDArray[np.str_]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    names: NDArray[np.str_] | None = None


_NO_GENES = Rows(index=np.zeros(0, str))


def write_new(target: Path, form: str, rows: Rows, result: Addition, genes: Rows = _NO_GENES) -> None:
    """Write a finished result; for ``npy`` the JSON file lies beside it.

    Parameters
    ----------
    target
        Path to write; must not exist.
    form
        ``h5ad``, ``zarr``, ``parquet`` or ``npy``.
    rows
        What each row is.
    result
        Vectors, key and provenance; into stores any addition.
    genes
        What the columns are, where they are genes.
    """
    if form in STORES:
        _write_store(target, form, rows, result, genes)
        return
    assert isinstance(result, CellVectors)
    if form == "parquet":
        write_parquet(target, rows.index, result, dict(rows.columns))
    else:
        names = rows.index if rows.names is None else rows.names
        write_npy(target, side_car(target), names, result, rows.beside)


def _write_store(target: Path, form: str, rows: Rows, result: Addition, genes: Rows) -> None:
    with creating(target, form) as root:
        tag(root, "anndata")
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            child(root, name)
        put_frame(root, "obs", rows.index, dict(rows.columns))
        put_frame(root, "var", genes.index, dict(genes.columns))
        result.add(root)


def rows_to_anndata(rows: Rows, result: Addition, genes: Rows = _NO_GENES) -> AnnData:
    """The result in memory.

    Parameters
    ----------
    rows
        What the rows are.
    result
        Their vectors.
    genes
        What the columns are, where they are genes.
    """
    import anndata
    import pandas as pd

    obs, var = (pd.DataFrame(dict(of.columns), index=of.index) for of in (rows, genes))
    adata = anndata.AnnData(obs=obs, var=var) if len(genes.index) else anndata.AnnData(obs=obs)
    result.attach(adata)
    return adata
