"""An AnnData object, in memory or backed by its file, as a source of row blocks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.block import CellBlock
from biolm.io.cells.features import feature_types, offered_types, typed_cells
from biolm.io.cells.frame import as_plain, as_text, categorical
from biolm.io.cells.rows import DenseRows
from biolm.io.cells.source import OpenCells, Rows, Table, resolve_matrix

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["open_memory", "series_values"]


def open_memory(adata: AnnData, matrix: str = "X") -> OpenCells:
    """Source over an AnnData.

    Nothing is copied but the block at hand, except a matrix stored by gene (CSC): it is turned once, whole.

    Parameters
    ----------
    adata
        The table.
    matrix
        ``X``, ``raw`` or a layer.

    Raises
    ------
    InputError
        If it is no AnnData, is empty or holds no such matrix.
    """
    if not all(hasattr(adata, part) for part in ("obs", "var", "layers", "X")):
        raise InputError(f"cells are read from a path or an AnnData, not from a {type(adata).__name__}")
    matrices = {"X": adata.X, **{f"layers/{name}": values for name, values in adata.layers.items()}}
    genes = dict.fromkeys(matrices, _table(adata.var))
    if adata.raw is not None:
        matrices["raw/X"], genes["raw/X"] = adata.raw.X, _table(adata.raw.var)
    types = {name: feature_types(genes[name]) for name, values in matrices.items() if values is not None}
    offered = offered_types(types)
    chosen = resolve_matrix(matrix, list(offered), "the AnnData")
    base, feature_type = offered[chosen]
    return typed_cells(
        types[base],
        feature_type,
        path=None if adata.filename is None else Path(adata.filename),
        kind="memory",
        matrix=chosen,
        rows=_rows(matrices[base]),
        obs=_table(adata.obs),
        var=genes[base],
        offered=list(offered),
        on_close=lambda: None,
    )


def _rows(values: Any) -> Rows:
    """Row reader over a dense or sparse matrix, in memory or backed."""
    if getattr(values, "format", None) == "csc":
        # Rows of a column-major matrix cost a pass over all of it each: turn it once.
        values = values.to_memory().tocsr() if hasattr(values, "to_memory") else values.tocsr()
    if hasattr(values, "format"):
        return _SparseRows(values)
    shape = (int(values.shape[0]), int(values.shape[1]))
    return DenseRows(shape, lambda a, b: np.asarray(values[a:b]), itemsize=values.dtype.itemsize)


class _SparseRows:
    """Compressed sparse rows: a scipy matrix or a backed one."""

    def __init__(self, matrix: Any) -> None:
        self.shape = (int(matrix.shape[0]), int(matrix.shape[1]))
        self._matrix = matrix

    def read(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop``."""
        part = self._matrix[start:stop]
        indptr = part.indptr.astype(np.int64, copy=False)
        return CellBlock(start, part.data, part.indices.astype(np.int32, copy=False), indptr, self.shape[1])

    def close(self) -> None:
        """Nothing to free: the file belongs to the source."""


def _table(frame: Any) -> Table:
    """Table over a pandas frame."""
    return Table(
        lambda: as_text(frame.index.to_numpy()),
        {str(name): partial(series_values, frame[name]) for name in frame.columns},
    )


def series_values(column: Any) -> NDArray[Any]:
    """One column of a pandas frame, as ``obs_column`` gives it."""
    if hasattr(column, "cat"):
        return categorical(column.cat.codes.to_numpy(), as_plain(column.cat.categories.to_numpy()))
    missing = column.isna().to_numpy()
    if column.dtype.kind not in "biuf":
        return as_plain(column.astype(object).where(~missing, None).to_numpy())
    # As text, like a stored column: floats would spell True as 1.0.
    if missing.any() and column.dtype.kind == "b":
        return np.where(missing, "", column.astype(object).to_numpy().astype(np.str_))
    if missing.any():
        return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))
    return np.asarray(column.to_numpy())
