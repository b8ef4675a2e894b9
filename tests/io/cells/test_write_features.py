"""10x matrices of several feature types or genomes, written as AnnData stores that open."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from biolm.io.anndata.result import write_result
from biolm.io.anndata.vectors import CellVectors
from biolm.io.cells import open_cells

anndata = pytest.importorskip("anndata")


def vectors_of(cells: int) -> CellVectors:
    return CellVectors(
        key="X_m",
        vectors=np.ones((cells, 2), np.float32),
        empty=np.zeros(cells, bool),
        provenance={"model": "m"},
    )


@pytest.mark.filterwarnings("ignore:Variable names are not unique")  # a gene and its antibody share one
@pytest.mark.parametrize("name", ["cite_10x.h5", "cite_mtx"])
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
@pytest.mark.parametrize("matrix", ["X", "Antibody Capture"])
def test_every_feature_is_kept_in_one_matrix(
    shared: Path, tmp_path: Path, name: str, form: str, matrix: str
) -> None:
    target = tmp_path / f"out.{form}"
    with open_cells(shared / "data/awkward/cells" / name, matrix=matrix) as source:
        write_result(source, target, form, vectors_of(source.n_cells))
        genes, counts = source.gene_columns()["index"].tolist(), list(source.blocks())
    made = anndata.read_h5ad(target) if form == "h5ad" else anndata.read_zarr(target)
    before = anndata.read_h5ad(shared / "data/awkward/cells/cite_gex_and_adt.h5ad")
    assert made.shape == (30, 403)
    assert not made.layers
    assert made.var["feature_types"].tolist() == before.var["feature_types"].tolist()
    np.testing.assert_array_equal(made.X.toarray(), before.X.toarray())
    with open_cells(target, matrix=matrix) as again:
        assert again.gene_columns()["index"].tolist() == genes
        for one, other in zip(again.blocks(), counts, strict=True):
            np.testing.assert_array_equal(one.data, other.data)


def test_of_two_genomes_the_one_that_was_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for genome, cells, genes in (("hg19", 3, 4), ("mm10", 2, 5)):
            dense = np.arange(cells * genes).reshape(cells, genes) % 3
            rows, columns = np.nonzero(dense)
            group = file.create_group(genome)
            group["data"], group["indices"] = dense[rows, columns], columns
            group["indptr"] = np.searchsorted(rows, np.arange(cells + 1))
            group["shape"] = (genes, cells)
            group["barcodes"] = np.array([f"{genome}-{number}" for number in range(cells)], "S9")
            group["genes"] = group["gene_names"] = np.array([f"G{number}" for number in range(genes)], "S9")
    with open_cells(tmp_path / "x.h5", matrix="mm10") as source:
        assert "several genomes: mm10 is read, hg19 left out" in source.notes[0]
        write_result(source, tmp_path / "out.h5ad", "h5ad", vectors_of(2))
    made = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert made.shape == (2, 5)
    np.testing.assert_array_equal(made.X.toarray(), np.arange(10).reshape(2, 5) % 3)


@pytest.mark.parametrize("form", ["h5ad", "zarr", "parquet"])
def test_a_raw_of_none_is_no_hindrance(shared: Path, tmp_path: Path, form: str) -> None:
    path = shared / "goldens" / "geneformer_tokens" / "counts.h5ad"
    with open_cells(path) as source:
        cells = source.n_cells
        write_result(source, tmp_path / f"out.{form}", form, vectors_of(cells))
    if form != "parquet":
        target = tmp_path / f"out.{form}"
        made = anndata.read_h5ad(target) if form == "h5ad" else anndata.read_zarr(target)
        assert made.obsm["X_m"].shape == (cells, 2)
        with open_cells(target) as again:
            assert again.n_cells == cells
