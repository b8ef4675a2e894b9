"""h5ad and zarr, every storage and encoding, against the AnnData they were written from."""

from __future__ import annotations

import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from biolm.io.cells import open_cells

if TYPE_CHECKING:
    from anndata import AnnData

FORMATS = ["h5ad", "gzip", "lzf", "zarr2", "zarr3", "zip"]


def write(adata: AnnData, folder: Path, form: str) -> Path:
    """Write a file of one of the formats."""
    import anndata

    if form in {"h5ad", "gzip", "lzf"}:
        path = folder / f"{form}.h5ad"
        adata.write_h5ad(path, compression=None if form == "h5ad" else form)
        return path
    path = folder / f"{form}.zarr"
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=2 if form == "zarr2" else 3):
        # zarr says of its own format 3 that parts of it are young.
        warnings.simplefilter("ignore")
        adata.write_zarr(path)
    if form != "zip":
        return path
    with zipfile.ZipFile(folder / "store.zip", "w") as archive:
        for file in sorted(path.rglob("*")):
            archive.write(file, file.relative_to(path))
    return folder / "store.zip"


@pytest.mark.parametrize("form", FORMATS)
def test_every_matrix(adata: AnnData, tmp_path: Path, whole: Callable[..., Any], form: str) -> None:
    path = write(adata, tmp_path, form)
    expected = {"X": adata.X, "raw/X": adata.raw.X} | {f"layers/{n}": m for n, m in adata.layers.items()}
    for name, matrix in expected.items():
        with open_cells(path, matrix=name) as source:
            assert set(source.matrices()) == set(expected)
            assert source.matrix == name
            assert source.path == path
            assert (source.n_cells, source.n_genes) == matrix.shape
            read = whole(source)
        assert read.dtype == matrix.dtype
        np.testing.assert_array_equal(read.toarray(), getattr(matrix, "toarray", lambda m=matrix: m)())


@pytest.mark.parametrize("form", FORMATS)
def test_tables(adata: AnnData, tmp_path: Path, form: str) -> None:
    path = write(adata, tmp_path, form)
    with open_cells(path) as source, open_cells(path, matrix="raw") as raw:
        assert source.cell_names().tolist() == adata.obs_names.tolist()
        assert source.obs_columns() == adata.obs.columns.tolist()
        genes = source.gene_columns()
        assert list(genes) == ["index", "gene_symbol", "biotype"]
        assert genes["index"].tolist() == adata.var_names.tolist()
        assert genes["biotype"].tolist() == adata.var["biotype"].tolist()
        assert raw.gene_columns()["index"].tolist() == adata.raw.var_names.tolist()
        check_obs(source, adata)


def test_tables_of_an_object(adata: AnnData) -> None:
    with open_cells(adata) as source:
        assert list(source.gene_columns()) == ["index", "gene_symbol", "biotype"]
        check_obs(source, adata)


def check_obs(source: Any, adata: AnnData) -> None:
    """Each obs column against pandas: '' for missing text, NaN for missing numbers."""
    for name in ("cell_type", "gated", "donor"):
        column = source.obs_column(name)
        assert column.dtype.kind == "U"
        assert column.tolist() == ["" if value != value else value for value in adata.obs[name]]
    assert "" in source.obs_column("gated")
    assert source.obs_column("lane").tolist() == adata.obs["lane"].tolist()
    assert source.obs_column("age").dtype.kind == "i"
    assert source.obs_column("doublet").dtype.kind == "b"
    for name in ("n_counts", "age", "doublet"):
        np.testing.assert_array_equal(source.obs_column(name), adata.obs[name])
    np.testing.assert_array_equal(
        source.obs_column("visits"), adata.obs["visits"].to_numpy(float, na_value=np.nan)
    )
    smoker = [
        "" if value is None else str(value) for value in adata.obs["smoker"].to_numpy(object, na_value=None)
    ]
    assert source.obs_column("smoker").tolist() == [str(value) for value in smoker]


def test_layer_by_bare_name(adata: AnnData, tmp_path: Path) -> None:
    path = write(adata, tmp_path, "h5ad")
    with open_cells(path, matrix="dense") as bare, open_cells(path, matrix="raw") as raw:
        assert (bare.matrix, raw.matrix) == ("layers/dense", "raw/X")


def test_tables_of_old_files(adata: AnnData, tmp_path: Path, whole: Callable[..., Any]) -> None:
    """anndata 0.6 wrote tables as record arrays, 0.7 kept categories beside the columns."""
    import h5py

    path = tmp_path / "old.h5ad"
    with h5py.File(path, "w") as file:
        matrix = file.create_group("X")
        matrix.attrs["h5sparse_format"], matrix.attrs["h5sparse_shape"] = "csr", adata.shape
        for part in ("data", "indices", "indptr"):
            matrix[part] = getattr(adata.X, part)
        records = np.zeros(adata.n_obs, [("index", "S10"), ("n_counts", "f4")])
        records["index"] = adata.obs_names.to_numpy(bytes)
        records["n_counts"] = adata.obs["n_counts"]
        file["obs"] = records
        var = file.create_group("var")
        var.attrs["_index"] = "gene"
        var["gene"] = adata.var_names.to_numpy(bytes)
        var["biotype"] = adata.var["biotype"].cat.codes.to_numpy()
        var["__categories/biotype"] = adata.var["biotype"].cat.categories.to_numpy(bytes)
        var["biotype"].attrs["categories"] = var["__categories/biotype"].ref
    with open_cells(path) as source:
        assert (whole(source) != adata.X).nnz == 0
        assert source.cell_names().tolist() == adata.obs_names.tolist()
        np.testing.assert_array_equal(source.obs_column("n_counts"), adata.obs["n_counts"])
        columns = source.gene_columns()
        assert list(columns) == ["index", "biotype"]
        assert columns["index"].tolist() == adata.var_names.tolist()
        assert columns["biotype"].tolist() == adata.var["biotype"].tolist()


def test_measured_files(data_cells: Path, whole: Callable[..., Any]) -> None:
    anndata = pytest.importorskip("anndata")
    for name in ("pbmc_celltypist_559", "hsmm_80", "mouse_embryo_902"):
        path = data_cells / f"{name}.h5ad"
        expected = anndata.read_h5ad(path)
        with open_cells(path) as source:
            assert (whole(source, 256) != expected.X).nnz == 0
            assert (
                source.gene_columns()["ensembl_id"].tolist()
                == expected.var["ensembl_id"].astype(str).tolist()
            )
            assert source.cell_names().tolist() == expected.obs_names.tolist()


def test_shared_log_normalised_dense(shared: Path, whole: Callable[..., Any]) -> None:
    anndata = pytest.importorskip("anndata")
    path = shared / "data" / "spatial" / "squidpy_mouse_brain" / "test_data.h5ad"
    expected = anndata.read_h5ad(path)
    with open_cells(path) as source:
        read = whole(source).toarray()
    dense = expected.X.toarray() if hasattr(expected.X, "toarray") else expected.X
    np.testing.assert_array_equal(read, dense)


def test_h5ad_needs_no_anndata(repository: Path) -> None:
    path = repository / "data" / "cells" / "pbmc68k_reduced_counts_700.h5ad"
    program = (
        "import sys; from biolm.io.cells import open_cells\n"
        f"with open_cells({str(path)!r}) as s: s.gene_columns(), s.cell_names(), list(s.blocks())\n"
        "assert s.n_cells == 700\n"
        "print([m for m in ('anndata', 'pandas', 'scanpy', 'torch', 'zarr', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
