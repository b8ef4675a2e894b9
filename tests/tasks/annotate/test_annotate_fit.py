from __future__ import annotations

import json
import shutil
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

import biolm
from biolm import annotate
from biolm.errors import (
    CheckpointError,
    ConfigError,
    GeneMatchError,
    InputError,
    OutputError,
)
from biolm.io.digests import SEAL
from biolm.models.systems import genetext
from biolm.tasks.annotate.page import write_page
from biolm.tasks.annotate.score import COMPARED
from biolm.tasks.annotate.table import words_of


@pytest.fixture(scope="module")
def annotator(kinds):
    return annotate.fit(kinds, label="kind", test_share=0.3)


@pytest.fixture(scope="module")
def folder(annotator, tmp_path_factory):
    made = tmp_path_factory.mktemp("annotators") / "kinds"
    made.mkdir()
    annotator.save(made)
    write_page(annotator, made / "report.html")
    return made


def accuracy(cells, key="biolm_kind"):
    return float((cells.obs[key].astype(str) == cells.obs["kind"]).mean())


def test_the_report_sets_every_baseline_beside_the_method(annotator):
    report = annotator.heads[0].report
    assert report["train_cells"] + report["test_cells"] == 150
    assert report["held_out"]["macro_f1"] > 0.9
    assert [row["name"] for row in report["parts"]] == ["biolm linear, embedding", "biolm linear, expression"]
    assert tuple(row["name"] for row in report["baselines"]) == COMPARED
    majority = report["baselines"][0]
    assert majority["macro_f1"] < 0.2
    for row in [report["held_out"], *report["baselines"]]:
        assert 0 <= row["low"] <= row["macro_f1"] + 1e-6
        assert row["macro_f1"] <= row["high"] + 1e-6
    assert set(report["unknown"]["classes"]) == {"B", "NK", "T"}


def test_a_saved_annotator_names_cells_as_the_one_in_memory(annotator, folder, query):
    here = annotate.predict(query, annotator, copy=True)
    there = annotate.predict(query, folder, copy=True)
    assert "biolm_kind" not in query.obs
    np.testing.assert_array_equal(
        here.obsm["biolm_kind_probabilities"], there.obsm["biolm_kind_probabilities"]
    )
    assert accuracy(there) > 0.85
    assert isinstance(there.obs["biolm_kind"].dtype, pd.CategoricalDtype)
    held = there.obsm["biolm_kind_probabilities"]
    np.testing.assert_allclose(held.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(there.obs["biolm_kind_confidence"], held.max(1), atol=1e-6)
    record = there.uns["biolm"]["biolm_kind"]
    assert record["classes"].tolist() == ["B", "NK", "T"]
    assert record["held_out"]["macro_f1"] == annotator.heads[0].report["held_out"]["macro_f1"]


def test_the_folder_holds_no_code_and_two_fits_are_the_same_bytes(kinds, folder, tmp_path):
    held = sorted(path.name for path in folder.iterdir())
    assert held == ["annotation.json", "annotator.safetensors", "report.html"]
    annotate.fit(kinds, label="kind", test_share=0.3, output=tmp_path / "again", overwrite=True)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_the_page_shows_baselines_confusion_and_calibration(annotator, folder):
    text = (folder / "report.html").read_text()
    for words in (*COMPARED, "kind: confusion", "kind: calibration", "kind: classes", "left out of training"):
        assert words in text
    shown = annotator.heads[0].report["shown"]
    assert np.sum(shown["confusion"]) == annotator.heads[0].report["test_cells"]


def test_order_and_kind_of_gene_names_do_not_matter(folder, query):
    turned = query[:, ::-1].copy()
    turned.var_names = turned.var["ensembl_id"].to_numpy() + ".3"
    del turned.var["ensembl_id"]
    plain, other = annotate.predict(query, folder, copy=True), annotate.predict(turned, folder)
    np.testing.assert_allclose(
        plain.obsm["biolm_kind_probabilities"], other.obsm["biolm_kind_probabilities"], atol=1e-4
    )


def test_a_query_with_a_part_of_the_genes_is_still_named(folder, query):
    part = query[:, np.random.default_rng(0).permutation(query.n_vars)[:60]].copy()
    named = annotate.predict(part, folder, reject=False)
    assert accuracy(named) > 0.8


def test_the_face_of_scanpy_names_in_place(folder, query):
    cells = query.copy()
    assert biolm.tl.annotate(cells, annotator=folder, key_added="mine") is None
    assert accuracy(cells, "mine") > 0.85
    assert "mine_confidence" in biolm.tl.annotate(query, annotator=folder, key_added="mine", copy=True).obs


def test_cells_without_counts_are_unknown(folder, query):
    counts = query.X.toarray()
    counts[3] = 0
    blank = anndata.AnnData(counts, obs=query.obs, var=query.var)
    assert annotate.predict(blank, folder, reject=False).obs["biolm_kind"].iloc[3] == "unknown"
    for options in ({}, {"reject": False}):
        named = annotate.predict(blank, folder, copy=True, overwrite=True, **options)
        assert np.isnan(named.obs["biolm_kind_confidence"].iloc[3])
        assert np.isnan(named.obsm["biolm_kind_probabilities"][3]).all()
        others = np.arange(len(blank)) != 3
        assert np.isfinite(named.obsm["biolm_kind_probabilities"][others]).all()


def test_a_class_called_unknown_is_refused_and_can_be_left_out(kinds):
    cells = kinds.copy()
    cells.obs["kind"] = cells.obs["kind"].astype(str).replace("T", "unknown")
    with pytest.raises(InputError, match=r"a class called 'unknown', .* leave it out"):
        annotate.fit(cells, label="kind", method="knn")
    assert annotate.fit(cells, label="kind", method="knn", leave_out=("unknown",)).heads[0].classes == (
        "B",
        "NK",
    )


def test_blanks_around_a_label_are_no_part_of_it(kinds):
    cells = kinds.copy()
    labels = cells.obs["kind"].astype(object).to_numpy()
    bare = np.flatnonzero(labels == "B")
    labels[bare[:10]], labels[bare[10:13]] = "B ", " "
    cells.obs["kind"] = labels
    fitted = annotate.fit(cells, label="kind", method="knn").heads[0]
    assert fitted.classes == ("B", "NK", "T")
    without = kinds[~np.isin(np.arange(len(kinds)), bare[10:13])].copy()
    same = annotate.fit(without, label="kind", method="knn").heads[0]
    assert fitted.report["held_out"] == same.report["held_out"]


def test_an_annotator_of_before_with_a_class_called_unknown_is_refused(folder, query, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    facts = json.loads((old / "annotation.json").read_text())
    facts["heads"][0]["classes"][0] = "unknown"
    # Files from before there were digests hold none.
    del facts[SEAL]
    (old / "annotation.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="a class called 'unknown'"):
        annotate.predict(query, old, copy=True)


def test_donors_that_are_the_labels_are_fitted_and_reported(shared, tmp_path):
    cells = shared / "data/awkward/cells/batch_equals_label.h5ad"
    fitted = annotate.fit(cells, label="cell_type", batch="batch", method="knn", output=tmp_path / "a")
    report = fitted.heads[0].report
    assert report["unknown"]["known_rejected"] is None
    assert "all held-out cells are of one class" in " ".join(words_of(report))
    assert "all held-out cells are of one class" in (tmp_path / "a/report.html").read_text()


def test_a_novel_kind_is_unknown_by_its_distance(kinds, query):
    known = kinds[kinds.obs["kind"] != "T"].copy()
    fitted = annotate.fit(known, label="kind", reject=0.1)
    unknown = annotate.predict(query, fitted, copy=True).obs["biolm_kind"] == "unknown"
    novel = query.obs["kind"] == "T"
    assert unknown[novel].mean() > 0.5
    assert unknown[~novel].mean() < 0.25
    head = fitted.heads[0]
    blind = replace(fitted, heads=(replace(head, frozen=replace(head.frozen, distance=None)),))
    doubted = annotate.predict(query, blind, copy=True).obs["biolm_kind"] == "unknown"
    assert unknown[novel].mean() > doubted[novel].mean() + 0.3
    assert not (annotate.predict(query, fitted, copy=True, reject=False).obs["biolm_kind"] == "unknown").any()


def test_donors_are_not_torn_apart(kinds):
    report = annotate.fit(kinds, label="kind", batch="donor", method="knn").heads[0].report
    assert report["split"] == "whole groups of donor"
    assert len(report["test_batches"]) == 1
    assert report["test_cells"] == (kinds.obs["donor"] == report["test_batches"][0]).sum()


@pytest.mark.parametrize("options", [{"method": "knn"}, {"method": "linear", "features": "embedding"}])
def test_copies_of_cells_do_not_leak(kinds, options):
    """Every cell twice, labels at random: a copy on the other side of the split would give the label away."""
    draws = np.random.default_rng(1)
    half = kinds.copy()
    half.obs["coin"] = draws.permutation(np.array(["head", "tail"])[np.arange(150) % 2])
    both = anndata.concat([half, half], index_unique="-")
    both.var = half.var
    report = annotate.fit(both, label="coin", **options).heads[0].report
    assert report["identical_cells"] == 150
    assert report["held_out"]["accuracy"] < 0.65


def test_shuffled_labels_score_at_chance(shared):
    cells = anndata.read_h5ad(shared / "data" / "cells_resampled" / "cellxgene_220.h5ad")
    part = cells[:, np.argsort(-np.asarray(cells.X.sum(0)).ravel())[:300]].copy()
    options = {"features": "embedding", "minimum_match": 0.0}
    report = annotate.fit(part, label="shuffled_label", test_share=0.3, **options).heads[0].report
    for row in [report["held_out"], *report["parts"], *report["baselines"]]:
        assert row["accuracy"] < 0.16, row["name"]


def test_several_labels_at_once(kinds, query):
    fitted = annotate.fit(kinds, label=["kind", "state"], method="knn")
    named = annotate.predict(query, fitted, copy=True, key="mine")
    assert {"mine", "biolm_state"} <= set(named.obs)
    assert fitted.heads[1].report["held_out"]["accuracy"] < 0.75


def test_more_cells_than_wanted_are_sampled_within_kinds(kinds):
    report = annotate.fit(kinds, label="kind", method="knn", max_cells=60).heads[0].report
    assert report["classes"] == {"B": 20, "NK": 20, "T": 20}


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({}, {"label": "kinds"}, InputError, "no label column 'kinds'"),
        ({"kind": "B"}, {}, InputError, "holds only 'B'"),
        ({"kind": np.nan}, {}, InputError, "no value"),
        ({"kind": ["X", *["B", "T"] * 75][:150]}, {}, InputError, r"classes of one cell \('X'\)"),
        ({}, {"batch": "lab"}, InputError, "no batch column 'lab'"),
        ({"donor": "d"}, {"batch": "donor"}, InputError, "holds one batch"),
        ({}, {"method": "lora"}, ConfigError, "no layers to train"),
        ({}, {"method": "forest"}, ConfigError, "`method` must be one of .* not 'forest'"),
        ({}, {"label": ["kind", "kind"]}, ConfigError, "several different"),
    ],
)
def test_what_cannot_be_learned_is_refused(kinds, tmp_path, change, options, error, message):
    cells = kinds.copy()
    for name, values in change.items():
        cells.obs[name] = values
    with pytest.raises(error, match=message):
        annotate.fit(cells, **{"label": "kind", "output": tmp_path / "made"} | options)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_named_is_refused(folder, query, tmp_path):
    novel = query.copy()
    novel.var_names = [f"nothing{number}" for number in range(novel.n_vars)]
    del novel.var["ensembl_id"]
    with pytest.raises(GeneMatchError):
        annotate.predict(novel, folder)
    with pytest.raises(ConfigError, match="cell_type is kept"):
        annotate.predict(query, folder, key="cell_type", copy=True)
    with pytest.raises(CheckpointError, match="another model"):
        annotate.predict(query, folder, model=genetext.random_like(genetext.load()), copy=True)
    with pytest.raises(CheckpointError, match="holds no annotator"):
        annotate.predict(query, tmp_path, copy=True)
    mine = query.copy()
    mine.obs["biolm_kind"] = "by hand"
    with pytest.raises(OutputError, match="not written by biolm"):
        annotate.predict(mine, folder)
    assert (mine.obs["biolm_kind"] == "by hand").all()


def test_a_damaged_annotator_is_refused(folder, query, tmp_path):
    content = json.loads((folder / "annotation.json").read_text())
    (tmp_path / "annotation.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"annotator\.safetensors is missing; fit the annotator again"):
        annotate.predict(query, tmp_path, copy=True)
    (tmp_path / "annotation.json").write_text(json.dumps(content | {"schema": "other/1"}))
    with pytest.raises(CheckpointError, match="it does not hold what was written"):
        annotate.predict(query, tmp_path, copy=True)


def test_vectors_that_are_no_numbers_are_refused(kinds, monkeypatch):
    whole = genetext.GeneText.embed

    def broken(self, block, match, options):
        vectors = whole(self, block, match, options)
        vectors[2] = np.nan
        return vectors

    monkeypatch.setattr(genetext.GeneText, "embed", broken)
    with pytest.raises(InputError, match="not finite"):
        annotate.fit(kinds, label="kind")
