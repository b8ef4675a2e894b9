"""Loom files as loompy's specification lays them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from biolm.io.cells import open_cells

if TYPE_CHECKING:
    from anndata import AnnData


def write(adata: AnnData, path: Path, *, cells: str = "CellID", genes: str = "Gene") -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=adata.X.T.toarray(), chunks=(16, 16), compression="gzip")
        file.create_dataset("layers/spliced", data=adata.layers["dense"].T)
        file[f"col_attrs/{cells}"] = adata.obs_names.to_list()
        file["col_attrs/ClusterName"] = adata.obs["cell_type"].to_list()
        file["col_attrs/_X"] = np.ones((adata.n_obs, 2))
        file[f"row_attrs/{genes}"] = adata.var["gene_symbol"].to_list()
        file["row_attrs/Accession"] = adata.var_names.to_list()


def test_matrix_layers_and_names(adata: AnnData, tmp_path: Path, whole: Callable[..., Any]) -> None:
    path = tmp_path / "x.loom"
    write(adata, path)
    with open_cells(path) as source, open_cells(path, matrix="spliced") as layer:
        assert (source.kind, source.matrices()) == ("loom", ["X", "layers/spliced"])
        np.testing.assert_array_equal(whole(source, 13).toarray(), adata.X.toarray())
        np.testing.assert_array_equal(whole(layer).toarray(), adata.layers["dense"])
        assert source.cell_names().tolist() == adata.obs_names.tolist()
        assert source.obs_columns() == ["ClusterName"]
        assert source.obs_column("ClusterName").tolist() == adata.obs["cell_type"].tolist()
        columns = source.gene_columns()
        assert columns["index"].tolist() == adata.var["gene_symbol"].tolist()
        assert columns["Accession"].tolist() == adata.var_names.tolist()


def test_names_under_other_attributes(adata: AnnData, tmp_path: Path) -> None:
    path = tmp_path / "x.loom"
    write(adata, path, cells="obs_names", genes="gene_name")
    with open_cells(path) as source:
        assert source.cell_names()[0] == adata.obs_names[0]
        assert source.gene_columns()["index"][0] == adata.var["gene_symbol"].iloc[0]
    write(adata, path, cells="donor", genes="locus")
    with open_cells(path) as source:
        assert source.cell_names()[:2].tolist() == ["0", "1"]
        assert source.gene_columns()["index"][0] == adata.var_names[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_file_that_loompy_wrote(adata: AnnData, tmp_path: Path, whole: Callable[..., Any]) -> None:
    loompy = pytest.importorskip("loompy")
    path = tmp_path / "x.loom"
    rows, columns = {"Gene": adata.var_names.to_numpy()}, {"CellID": adata.obs_names.to_numpy()}
    loompy.create(str(path), adata.X.T.tocsc(), rows, columns)
    with open_cells(path) as source:
        np.testing.assert_array_equal(whole(source).toarray(), adata.X.toarray())
        assert source.cell_names().tolist() == adata.obs_names.tolist()
