"""A new AnnData store from any source of cells, one block in memory at a time.

Dimensions: ``n`` cells · ``g`` genes.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.anndata.convert import creating
from biolm.io.anndata.elements import child, new_array, put, put_frame, tag
from biolm.io.anndata.vectors import PLACES, Addition
from biolm.io.cells.block import CellSource
from biolm.io.cells.open import open_cells

__all__ = ["build"]

# Values in one piece of a growing array on disk.
_PIECE = 2**18


def build(source: CellSource, target: Path, form: str, result: Addition) -> None:
    """Write every matrix in CSR form, the tables of cells and genes, and the vectors.

    Features that were not read, such as antibodies, are kept beside the genes, distinguished by
    ``var["feature_types"]``; of a file of several genomes only the one that was read is written.

    Parameters
    ----------
    source
        Cells of a file of any kind; whichever matrix was embedded, all of them are kept.
    target
        Path to write.
    form
        ``h5ad`` or ``zarr``.
    result
        The vectors.
    """
    path = source.path
    whole = source.unsplit()
    # Matrices of other genes, as of a second genome, would not fit beside this one.
    beside = [name for name in whole.matrices() if name == "X" or name.startswith("layers/")]
    with creating(target, form) as root:
        tag(root, "anndata")
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            child(root, name)
        for name in beside or [whole.matrix]:
            # A table that is no file, such as a section, holds one matrix.
            same = path is None or name == whole.matrix
            with nullcontext(whole) if same else open_cells(str(path), matrix=name) as matrix:
                parent = root["layers"] if name in beside and name != "X" else root
                _stream(parent.create_group(name.removeprefix("layers/") if name in beside else "X"), matrix)
        cells = {name: source.obs_column(name) for name in source.obs_columns()}
        put_frame(root, "obs", source.cell_names(), cells)
        genes = whole.gene_columns()
        put_frame(root, "var", genes.pop("index"), genes)
        if source.places is not None:
            put(root["obsm"], PLACES, source.places)
        result.add(root)


def _stream(group: Any, source: CellSource) -> None:
    """Stream the blocks of a source into CSR arrays that grow."""
    tag(group, "csr_matrix")
    group.attrs["shape"] = [source.n_cells, source.n_genes]
    grown: dict[str, Any] = {}
    used = 0
    rows = [np.zeros(1, np.int64)]
    for block in source.blocks():
        # Rows go out with ascending columns, which scipy and anndata take for granted.
        data, indices = _sorted(block.data, block.indices, block.indptr)
        for name, values in (("data", data), ("indices", indices)):
            if name not in grown:
                grown[name] = _growing(group, name, values.dtype)
            grown[name].resize((used + len(values),))
            if len(values):
                grown[name][used:] = values
        rows.append(block.indptr[1:] + used)
        used += len(data)
    indptr = np.concatenate(rows)
    # scipy copies a matrix whose pointers and columns are of two types.
    dtype = np.int32 if used < 2**31 else np.int64
    new_array(group, "indptr", indptr.shape, dtype, kind=None)[...] = indptr.astype(dtype)


def _growing(group: Any, name: str, dtype: Any) -> Any:
    if type(group).__module__.startswith("h5py"):
        return group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(_PIECE,), track_times=False)
    return group.create_array(name, shape=(0,), dtype=dtype, chunks=(_PIECE,))


def _sorted(
    data: NDArray[Any], indices: NDArray[np.int32], indptr: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Values and columns with the columns of each row ascending."""
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    same_row = rows[1:] == rows[:-1]
    if not (same_row & (indices[1:] < indices[:-1])).any():
        return data, indices
    order = np.lexsort((indices, rows))
    return data[order], indices[order]
