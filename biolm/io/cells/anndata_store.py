"""What h5ad and zarr share: AnnData's layout of matrices and tables under names.

Layout: https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.cells.bands import compressed_by_gene
from biolm.io.cells.features import feature_types, offered_types, typed_cells
from biolm.io.cells.frame import encoded_table
from biolm.io.cells.rows import CsrRows, DenseRows, Slice, stored_values
from biolm.io.cells.source import OpenCells, Rows, Table, resolve_matrix

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
        if hasattr(root.get("mod"), "keys"):
            names = ", ".join(root["mod"])
            raise InputError(f"{path} is a MuData file of {names}; write the modality of the genes as h5ad")
        missing = [part for part in ("obs", "var") if part not in root]
        nodes = _matrices(root)
        if missing or not nodes:
            lacks = " and ".join([*missing, *(["X"] if not nodes else [])])
            raise InputError(f"{path} is not an AnnData {kind} file: it has no {lacks}")
        tables = _gene_tables(root, nodes, path)
        types = {name: feature_types(table) for name, table in tables.items()}
        offered = offered_types(types)
        chosen = resolve_matrix(matrix, list(offered), path)
        base, feature_type = offered[chosen]
        return typed_cells(
            types[base],
            feature_type,
            path=path,
            kind=kind,
            matrix=chosen,
            rows=_rows(nodes[base], path, column),
            obs=encoded_table(root["obs"], path, root.get("uns")),
            var=tables[base],
            offered=list(offered),
            on_close=on_close,
        )
    except BaseException:
        on_close()
        raise


def _matrices(root: Any) -> dict[str, Any]:
    """The matrices of a file; one that was None is stored as a null array or not at all."""
    matrices = {"X": root.get("X")}
    matrices |= {f"layers/{name}": node for name, node in _members(root, "layers").items()}
    # anndata before 0.7 wrote the raw matrix beside the others.
    matrices["raw/X"] = _members(root, "raw").get("X", root.get("raw.X"))
    return {
        name: node
        for name, node in matrices.items()
        if node is not None and node.attrs.get("encoding-type") != "null"
    }


def _gene_tables(root: Any, nodes: Mapping[str, Any], path: Path) -> dict[str, Table]:
    """The table of genes of each matrix."""
    genes = encoded_table(root["var"], path, root.get("uns"))
    tables = dict.fromkeys(nodes, genes)
    if "raw/X" in nodes:
        table = _members(root, "raw").get("var", root.get("raw.var"))
        if table is None:
            raise InputError(f"{path} is not a whole AnnData file: its raw matrix has no table of genes")
        tables["raw/X"] = encoded_table(table, path, root.get("uns"))
    return tables


def _members(root: Any, name: str) -> dict[str, Any]:
    """What a group of that name holds; nothing where it is a null array or not there."""
    node = root.get(name)
    return {key: node[key] for key in node.keys()} if hasattr(node, "keys") else {}  # noqa: SIM118


def _rows(node: Any, path: Path, column: Callable[[Any], Slice]) -> Rows:
    """Row reader of one stored matrix."""
    if hasattr(node, "keys"):
        return _sparse(node, path, column)
    if node.dtype.kind not in "biuf" or len(node.shape) != 2:
        raise InputError(f"{path} holds no table of numbers in {node.name}; write it again from its source")
    shape = (int(node.shape[0]), int(node.shape[1]))
    # zarr reads missing chunks as zeros: a store of which nothing was copied would be cells without counts.
    if hasattr(node, "nchunks_initialized") and node.size and not node.nchunks_initialized:
        raise InputError(f"{path} is damaged: no piece of {node.name} is there; copy the whole store again")
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
    shape = (int(size[0]), int(size[1]))
    length = stored_values(data, indices, shape[1 if build is CsrRows else 0], path)
    return build(shape, node["indptr"][...], column(data), column(indices), length=length, name=path)
