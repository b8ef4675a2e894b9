"""Vectors with a row each in a new table, for data that are not themselves an AnnData.

Dimensions: ``n`` rows · ``d`` width of the embedding.
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
    """What the rows of a new table are.

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


def write_new(target: Path, form: str, rows: Rows, result: Addition) -> None:
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
    """
    if form in STORES:
        _write_store(target, form, rows, result)
        return
    assert isinstance(result, CellVectors)
    if form == "parquet":
        write_parquet(target, rows.index, result, dict(rows.columns))
    else:
        names = rows.index if rows.names is None else rows.names
        write_npy(target, side_car(target), names, result, rows.beside)


def _write_store(target: Path, form: str, rows: Rows, result: Addition) -> None:
    with creating(target, form) as root:
        tag(root, "anndata")
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            child(root, name)
        put_frame(root, "obs", rows.index, dict(rows.columns))
        put_frame(root, "var", np.zeros(0, str), {})
        result.add(root)


def rows_to_anndata(rows: Rows, result: Addition) -> AnnData:
    """The result in memory, without genes.

    Parameters
    ----------
    rows
        What the rows are.
    result
        Their vectors.
    """
    import anndata
    import pandas as pd

    adata = anndata.AnnData(obs=pd.DataFrame(dict(rows.columns), index=rows.index))
    result.attach(adata)
    return adata
