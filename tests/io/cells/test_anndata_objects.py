"""AnnData objects as sources: in memory, as views, and backed by a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from biolm.errors import InputError
from biolm.io.cells import open_cells

if TYPE_CHECKING:
    from anndata import AnnData

NAMES = ["X", "raw", "csc", "layers/dense", "integer", "double"]


def stored(adata: AnnData, name: str) -> np.ndarray[Any, Any]:
    """The dense matrix of a name."""
    matrix = {"X": adata.X, "raw": adata.raw.X}.get(name)
    matrix = adata.layers[name.removeprefix("layers/")] if matrix is None else matrix
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [1, 10, 1_000])
def test_in_memory(adata: AnnData, whole: Callable[..., Any], name: str, rows: int) -> None:
    with open_cells(adata, matrix=name) as source:
        assert (source.kind, source.path) == ("memory", None)
        assert set(source.matrices()) == {"X", "raw/X", *(f"layers/{layer}" for layer in adata.layers)}
        read = whole(source, rows)
    expected = stored(adata, name)
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read.toarray(), expected)


def test_a_view_reads_its_own_cells(adata: AnnData, whole: Callable[..., Any]) -> None:
    view = adata[10:40, 5:30]
    for name in ("X", "csc", "dense"):
        with open_cells(view, matrix=name) as source:
            assert source.cell_names().tolist() == view.obs_names.tolist()
            assert source.gene_columns()["index"].tolist() == view.var_names.tolist()
            np.testing.assert_array_equal(whole(source, 7, 3).toarray(), stored(view, name)[3:])


@pytest.mark.parametrize("storage", ["csr", "csc", "dense"])
def test_backed(adata: AnnData, tmp_path: Path, whole: Callable[..., Any], storage: str) -> None:
    anndata = pytest.importorskip("anndata")
    adata.X = {"csr": adata.X.tocsr, "csc": adata.X.tocsc, "dense": adata.X.toarray}[storage]()
    path = tmp_path / "x.h5ad"
    adata.write_h5ad(path)
    backed = anndata.read_h5ad(path, backed="r")
    try:
        for part in (backed, backed[20:50]):
            with open_cells(part) as source:
                assert source.path == path
                np.testing.assert_array_equal(whole(source, 9).toarray(), stored(adata[part.obs_names], "X"))
    finally:
        backed.file.close()


def test_sparse_arrays(adata: AnnData, whole: Callable[..., Any]) -> None:
    from scipy.sparse import csr_array

    adata.X = csr_array(adata.X)
    with open_cells(adata) as source:
        np.testing.assert_array_equal(whole(source).toarray(), adata.X.toarray())


def test_nothing_to_read(adata: AnnData) -> None:
    with pytest.raises(InputError, match="the AnnData is empty: X holds 0 cells"):
        open_cells(adata[:0])
    with pytest.raises(InputError, match="no matrix 'spliced'; it holds: X, "):
        open_cells(adata, matrix="spliced")
    adata.X = None
    adata.raw = None
    with pytest.raises(InputError, match="no matrix 'X'; it holds: layers/csc"):
        open_cells(adata)
