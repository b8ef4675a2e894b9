"""What h5ad and zarr share: AnnData's layout of matrices and tables under names.

Layout: https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.cells.bands import compressed_by_gene
from biolm.io.cells.frame import encoded_table
from biolm.io.cells.rows import CsrRows, DenseRows, Slice
from biolm.io.cells.source import OpenCells, Rows, resolve_matrix

__all__ = ["open_store"]


def open_store(
    root: Any,
    path: Path,
    kind: str,
    matrix: str,
    *,
    column: Callable[[Any], Slice],
    on_close: Callable[[], None],
) -> OpenCells:
    """Source over an open h5ad file or zarr group.

    Parameters
    ----------
    root
        The h5py or zarr group.
    path, kind, matrix
        As in :func:`~biolm.io.cells.open_cells`; ``kind`` names the format.
    column
        Makes the reader of spans of a one-dimensional array of the format.
    on_close
        Closes the file.

    Raises
    ------
    InputError
        If it holds no AnnData, or no such matrix; the file is closed then.
    """
    try:
        missing = [part for part in ("obs", "var") if part not in root]
        offered = _offered(root)
        if missing or not offered:
            lacks = " and ".join([*missing, *(["X"] if not offered else [])])
            raise InputError(f"{path} is not an AnnData {kind} file: it has no {lacks}")
        chosen = resolve_matrix(matrix, offered, path)
        return OpenCells(
            path=path,
            kind=kind,
            matrix=chosen,
            rows=_rows(root[chosen], path, column),
            obs=encoded_table(root["obs"], path),
            var=encoded_table(root["raw/var" if chosen == "raw/X" else "var"], path),
            offered=offered,
            on_close=on_close,
        )
    except BaseException:
        on_close()
        raise


def _offered(root: Any) -> list[str]:
    """The matrices of a file; an X that was None is stored as a null array or not at all."""
    names = ["X"] if "X" in root and root["X"].attrs.get("encoding-type") != "null" else []
    names += [f"layers/{name}" for name in root["layers"]] if "layers" in root else []
    return names + (["raw/X"] if "raw" in root and "X" in root["raw"] else [])


def _rows(node: Any, path: Path, column: Callable[[Any], Slice]) -> Rows:
    """Row reader of one stored matrix."""
    if hasattr(node, "keys"):
        return _sparse(node, path, column)
    if node.dtype.kind not in "biuf" or len(node.shape) != 2:
        raise InputError(f"{path} holds no table of numbers in {node.name}; write it again from its source")
    shape = (int(node.shape[0]), int(node.shape[1]))
    slab = node.chunks[0] if node.chunks else 1
    return DenseRows(shape, lambda a, b: node[a:b], itemsize=node.dtype.itemsize, slab=slab)


def _sparse(node: Any, path: Path, column: Callable[[Any], Slice]) -> Rows:
    """Row reader of a compressed sparse matrix, by row or by column."""
    # Files of anndata before 0.7 name these attributes differently.
    storage = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "unknown")))
    size = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    builders: dict[str, Callable[..., Rows]] = {"csr": CsrRows, "csc": compressed_by_gene}
    build = builders.get(storage.removesuffix("_matrix"))
    lacks = [part for part in ("data", "indices", "indptr") if part not in node]
    if build is None or size is None or lacks:
        what = f"lacks {', '.join(lacks)}" if lacks else f"is of kind {storage!r}"
        raise InputError(f"{path} holds a matrix {node.name} that cannot be read: it {what}")
    data, indices = node["data"], node["indices"]
    return build(
        (int(size[0]), int(size[1])),
        node["indptr"][...],
        column(data),
        column(indices),
        length=min(data.shape[0], indices.shape[0]),
        name=path,
    )
