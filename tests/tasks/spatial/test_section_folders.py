"""Folders of sections are annotated, searched and evaluated as tables of cells are, and keep their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import biolm
from biolm import annotate, search
from biolm.cli.main import app
from biolm.errors import ConfigError, InputError
from biolm.io.cell_tables import open_table
from biolm.tasks.annotate.settings import PredictSettings
from biolm.tasks.evaluate.run import evaluate

GENES = 400


@pytest.fixture(scope="module")
def labelled(shared: Path) -> anndata.AnnData:
    """A section with a pathologist's regions, two of them, at its genes of most counts."""
    path = shared / "data/spatial/her2st_labelled_noimage/A1.h5ad"
    if not path.is_file():
        pytest.skip("needs ../shared/data/spatial")
    adata = anndata.read_h5ad(path)
    sizes = adata.obs["pathologist_label"].value_counts().index[:2]
    adata = adata[adata.obs["pathologist_label"].isin(sizes)]
    totals = np.asarray(adata.X.sum(0)).ravel()
    return adata[:, np.sort(totals.argsort()[::-1][:GENES])].copy()


@pytest.fixture(scope="module")
def folder(labelled: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same section as the arrays before Visium come: a count table and a table of spots."""
    folder = tmp_path_factory.mktemp("section") / "A1"
    folder.mkdir()
    pd.DataFrame(labelled.X.toarray(), index=labelled.obs_names, columns=labelled.var_names).to_csv(
        folder / "A1.tsv", sep="\t"
    )
    places = labelled.obsm["spatial"]
    spots = pd.DataFrame(
        {
            "x": labelled.obs["array_x"].to_numpy(),
            "y": labelled.obs["array_y"].to_numpy(),
            "pixel_x": places[:, 0],
            "pixel_y": places[:, 1],
            "label": labelled.obs["pathologist_label"].astype(str).to_numpy(),
            "depth": labelled.obs["n_counts"].to_numpy(),
        }
    )
    spots.to_csv(folder / "A1_selection.tsv", sep="\t", index=False)
    return folder


def test_further_columns_of_the_spots_are_read(folder: Path, labelled: anndata.AnnData) -> None:
    with open_table(folder) as cells:
        assert cells.obs_columns() == ["array_x", "array_y", "label", "depth"]
        rows = pd.Index(cells.cell_names()).get_indexer(labelled.obs_names)
        assert (cells.obs_column("label")[rows] == labelled.obs["pathologist_label"].to_numpy()).all()
        np.testing.assert_allclose(cells.obs_column("depth")[rows], labelled.obs["n_counts"], rtol=1e-6)
        assert cells.places is not None
        np.testing.assert_allclose(cells.places[rows], labelled.obsm["spatial"])
        matrix = cells.matrix
    with pytest.raises(ConfigError, match="transpose"):
        open_table(folder, matrix=matrix, transpose=True)


def test_spots_are_annotated_from_a_folder_and_keep_their_places(
    folder: Path, labelled: anndata.AnnData, tmp_path: Path
) -> None:
    annotator = annotate.fit(folder, label="label", output=tmp_path / "annotator", minimum_match=0)
    assert set(annotator.heads[0].classes) == set(labelled.obs["pathologist_label"])
    whole = tmp_path / "whole.h5ad"
    options: dict[str, Any] = {"minimum_match": 0, "block_rows": 64}
    settings = PredictSettings(**options)
    annotate.predict_file(folder, whole, tmp_path / "annotator", settings)
    found, held = anndata.read_h5ad(whole), annotate.predict(folder, annotator, minimum_match=0)
    plain = annotate.predict(labelled, annotator, copy=True, minimum_match=0)
    rows = found.obs_names.get_indexer(plain.obs_names)
    for table in (found, held):
        assert (table.obs["biolm_label"].to_numpy()[rows] == plain.obs["biolm_label"].to_numpy()).all()
        np.testing.assert_allclose(table.obsm["spatial"][rows], labelled.obsm["spatial"])
    for number in (1, 2):
        shard = PredictSettings(shard=f"{number}/2", **options)
        annotate.predict_file(folder, tmp_path / f"s{number}", tmp_path / "annotator", shard)
    biolm.merge([tmp_path / "s1", tmp_path / "s2"], tmp_path / "merged.h5ad")
    assert (tmp_path / "merged.h5ad").read_bytes() == whole.read_bytes()


def test_spots_are_searched_from_a_folder(folder: Path, labelled: anndata.AnnData, tmp_path: Path) -> None:
    index = search.build(folder, label="label", output=tmp_path / "index", minimum_match=0)
    found = search.query(folder, index, k=2, output=tmp_path / "x.h5ad", minimum_match=0)
    assert np.abs(found.distances[:, 0]).max() < 1e-5
    assert found.labels is not None
    table = anndata.read_h5ad(tmp_path / "x.h5ad")
    rows = table.obs_names.get_indexer(labelled.obs_names)
    np.testing.assert_allclose(table.obsm["spatial"][rows], labelled.obsm["spatial"])
    shards = [tmp_path / "s1", tmp_path / "s2"]
    for number, shard in enumerate(shards, 1):
        options: dict[str, Any] = {"shard": f"{number}/2", "block_rows": 64, "minimum_match": 0}
        search.query(folder, tmp_path / "index", k=2, output=shard, **options)
    merged = anndata.read_h5ad(biolm.merge(shards, tmp_path / "merged.h5ad"))
    assert (merged.obsm["search_neighbours"] == table.obsm["search_neighbours"]).all()


def test_a_model_is_evaluated_on_the_spots_of_a_folder(
    folder: Path, labelled: anndata.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"label": "label", "minimum_match": 0, "maps": False}
    options |= dict.fromkeys(("integration", "curves", "robustness"), False)
    found = evaluate(folder, model="genetext", **options)
    assert "X_genetext" in found.embeddings
    with pytest.raises(InputError, match=r"\(section\) holds no embeddings"):
        evaluate(folder, "X_pca", **options)
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", str(folder), "-e", "X_pca", "--label", "label", "-o", "page"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert not Path("page").exists()
