from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from projection import Projection

import biolm
from biolm.errors import ConfigError, InputError, OutputError
from biolm.jobs.cells import empty_cells
from biolm.models.systems import cellfactors


def _expected(adata: anndata.AnnData) -> np.ndarray:
    return np.asarray(adata.X.todense()) @ Projection().weights + 1


def _silence(adata: anndata.AnnData, rows: list[int], genes: slice = slice(None)) -> None:
    """Take away the counts of some cells."""
    counts = adata.X.toarray()
    counts[rows, genes] = 0
    adata.X = sp.csr_matrix(counts)


def test_in_place_and_returned(cells):
    result = biolm.embed(cells, model=Projection())
    assert result is cells
    np.testing.assert_allclose(cells.obsm["X_projection"], _expected(cells), rtol=1e-5, atol=1e-5)
    assert cells.obsm["X_projection"].dtype == np.float32


def test_copy_leaves_the_input(cells):
    result = biolm.embed(cells, model=Projection(), copy=True, key="X_mine")
    assert "X_mine" in result.obsm
    assert "X_mine" not in cells.obsm
    assert "biolm" not in cells.uns


def test_provenance_is_plain(cells):
    biolm.embed(cells, model=Projection(), seed=7, centre=True)
    record = cells.uns["biolm"]["X_projection"]
    assert record["model"] == "projection"
    assert record["checkpoint"]["checkpoint_sha256"] == "0" * 64
    assert record["seed"] == 7
    assert record["matrix"] == "X"
    assert record["genes"]["matched"] == 40
    assert record["parameters"]["centred"] is True
    assert record["parameters"]["pool"] == "sum"

    def leaves(value):
        return (
            [leaf for entry in value.values() for leaf in leaves(entry)]
            if isinstance(value, dict)
            else [value]
        )

    assert all(type(leaf) in (str, int, float, bool) for leaf in leaves(record))


def test_a_second_result_keeps_the_first(cells):
    biolm.embed(cells, model=Projection(), key="X_one")
    biolm.embed(cells, model=Projection(), key="X_two", pool="half")
    assert set(cells.uns["biolm"]) == {"X_one", "X_two"}
    np.testing.assert_allclose(cells.obsm["X_one"], 2 * cells.obsm["X_two"])


def test_layer_and_raw(cells):
    cells.layers["twice"] = cells.X * 2
    cells.raw = cells.copy()
    cells.X = cells.X * 0
    biolm.embed(cells, model=Projection(), layer="twice", key="X_layer")
    biolm.embed(cells, model=Projection(), layer="raw", key="X_raw")
    np.testing.assert_allclose(cells.obsm["X_layer"] - 1, 2 * (cells.obsm["X_raw"] - 1), rtol=1e-5, atol=1e-4)
    assert cells.uns["biolm"]["X_layer"]["matrix"] == "layers/twice"
    assert cells.uns["biolm"]["X_raw"]["matrix"] == "raw/X"


@pytest.mark.parametrize("rows", [1, 7, 16, 1000])
def test_block_size_does_not_matter(cells, rows):
    whole = biolm.embed(cells, model=Projection(), copy=True).obsm["X_projection"]
    cut = biolm.embed(cells, model=Projection(), copy=True, block_rows=rows).obsm["X_projection"]
    assert whole.tobytes() == cut.tobytes()


def test_empty_cells_are_zero_and_flagged(cells, caplog):
    _silence(cells, [3, 50])
    biolm.embed(cells, model=Projection())
    vectors = cells.obsm["X_projection"]
    assert not vectors[[3, 50]].any()
    assert vectors[4].any()
    assert np.flatnonzero(cells.obs["X_projection_empty"]).tolist() == [3, 50]
    assert cells.uns["biolm"]["X_projection"]["empty_cells"] == 2
    assert "2 cells hold no counts" in caplog.text


def test_a_cell_with_counts_in_unknown_genes_only_is_empty(cells):
    cells.var_names = [*cells.var_names[:39], "unheard-of"]
    row = int(np.argmax(cells.X.toarray()[:, 39] > 0))
    _silence(cells, [row], slice(0, 39))
    biolm.embed(cells, model=Projection())
    assert cells.obs["X_projection_empty"].to_numpy().nonzero()[0].tolist() == [row]


def test_empty_cells_looks_past_the_first_values(cells):
    from biolm.io.cells import open_cells

    with open_cells(cells) as source:
        block = next(source.blocks())
        match = Projection().vocabulary.match(source.gene_columns())
    # Only the last column of the first row counts; all other rows are judged as usual.
    dense = np.asarray(cells.X.todense())
    match.target[:39] = -1
    expected = dense[:, 39] == 0
    assert empty_cells(block, match).tolist() == expected.tolist()


def test_centring_moves_the_mean_of_the_dataset_to_zero(cells):
    _silence(cells, [3])
    biolm.embed(cells, model=Projection(), key="X_raw")
    biolm.embed(cells, model=Projection(), centre=True)
    vectors, raw = cells.obsm["X_projection"], cells.obsm["X_raw"]
    full = np.delete(vectors, 3, axis=0)
    assert not vectors[3].any()
    np.testing.assert_allclose(full.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(full[0] - full[1], raw[0] - raw[1], atol=1e-4)


def test_values_that_are_not_finite_are_refused(cells):
    with pytest.raises(InputError, match="first for cell 20"):
        biolm.embed(cells, model=Projection(broken=20))
    assert "X_projection" not in cells.obsm


def test_a_foreign_key_is_kept(cells):
    cells.obsm["X_projection"] = np.ones((100, 2))
    with pytest.raises(OutputError, match="was not written by biolm"):
        biolm.embed(cells, model=Projection())
    biolm.embed(cells, model=Projection(), overwrite=True)
    biolm.embed(cells, model=Projection())  # its own result may be replaced
    assert cells.obsm["X_projection"].shape == (100, 6)


def test_vectors_of_another_checkpoint_are_kept(shipped_cells, tmp_path):
    """A fit of one's own has the name of the default."""
    own = replace(cellfactors.load(), scales=(1.0, 1.0))
    cellfactors.save(own, tmp_path / cellfactors.FILE)
    table = anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad")[:20].copy()
    biolm.embed(table, model=tmp_path)
    first = table.obsm["X_cellfactors"].copy()
    with pytest.raises(OutputError, match="holds vectors of another checkpoint of cellfactors"):
        biolm.embed(table)
    np.testing.assert_array_equal(table.obsm["X_cellfactors"], first)
    biolm.embed(table, model=tmp_path)  # the same once more
    biolm.embed(table, key="X_default")
    biolm.embed(table, overwrite=True)
    np.testing.assert_array_equal(table.obsm["X_cellfactors"], table.obsm["X_default"])


def test_unknown_pool(cells):
    with pytest.raises(ConfigError, match=r"no pool 'median'; choose from: sum, half"):
        biolm.embed(cells, model=Projection(), pool="median")


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_tokens": 0},
        {"block_rows": 0},
        {"minimum_match": 2.0},
        {"key": "a/b"},
        {"key": ""},
        {"seed": -1},
        {"precision": "int8"},
    ],
)
def test_impossible_settings(cells, wrong):
    with pytest.raises(ConfigError):
        biolm.embed(cells, model=Projection(), **wrong)


def test_output_and_resume_are_for_files(cells, tmp_path):
    with pytest.raises(ConfigError, match="write_h5ad"):
        biolm.embed(cells, model=Projection(), output=tmp_path / "x.h5ad")
    with pytest.raises(ConfigError, match="give an output"):
        biolm.embed(cells, model=Projection(), resume=True)


def test_refusal_names_the_layer_that_would_do(cells):
    cells.layers["counts"] = cells.X.copy()
    cells.X = cells.X.log1p()
    with pytest.raises(InputError, match="layers/counts"):
        biolm.embed(cells, model=Projection())
    biolm.embed(cells, model=Projection(), allow_normalised=True)
    assert cells.uns["biolm"]["X_projection"]["parameters"]["allow_normalised"] is True


def test_a_path_without_output_gives_an_anndata(h5ad, cells):
    path = h5ad()
    result = biolm.embed(path, model=Projection())
    assert result.uns["title"] == "cells"
    assert "X_pca" in result.obsm
    np.testing.assert_allclose(result.obsm["X_projection"], _expected(cells), rtol=1e-5, atol=1e-5)


def test_a_table_without_output_gives_an_anndata(tmp_path, cells):
    frame = cells.to_df().astype(int)
    frame.to_csv(tmp_path / "cells.csv")
    result = biolm.embed(str(tmp_path / "cells.csv"), model=Projection())
    assert result.obs_names.tolist() == cells.obs_names.tolist()
    assert (result.X.toarray() == cells.X.toarray()).all()
    np.testing.assert_allclose(result.obsm["X_projection"], _expected(cells), rtol=1e-5, atol=1e-5)


def test_unknown_options_are_named(cells):
    with pytest.raises(ConfigError, match="embed has no option poool; did you mean 'pool'"):
        biolm.embed(cells, model=Projection(), poool="mean")


def test_tl_works_in_place_and_on_a_copy(cells):
    assert biolm.tl.embed(cells, model=Projection(), key_added="X_a") is None
    copied = biolm.tl.embed(cells, model=Projection(), key_added="X_b", copy=True)
    assert "X_a" in cells.obsm
    assert "X_b" in copied.obsm
    assert "X_b" not in cells.obsm


def test_pp_match_genes_reports_and_names_genes(cells):
    cells.var_names = ["other", *cells.var_names[1:]]
    report = biolm.pp.match_genes(cells, model=Projection())
    assert report["matched"] == 39
    assert cells.var["projection_gene"].tolist()[:2] == ["", "gene1"]


def test_pl_embedding_needs_the_embedding(cells):
    with pytest.raises(InputError, match=r"run biolm\.tl\.embed first"):
        biolm.pl.embedding(cells, key="X_none")


def test_output_returns_the_path(h5ad, tmp_path):
    target = tmp_path / "out.h5ad"
    assert biolm.embed(h5ad(), model=Projection(), output=target) == Path(target)
    assert "X_projection" in anndata.read_h5ad(target).obsm
