"""Annotators that train the model, of cells and of genes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from biolm import annotate
from biolm.cli.main import app
from biolm.errors import ConfigError, InputError
from biolm.tasks.annotate.gene_labels import read_gene_table


@pytest.fixture(scope="module")
def model(kinds, tmp_path_factory):
    """A tiny model of cells, hardly trained."""
    from biolm.training.config.read import build
    from biolm.training.run.train import train

    folder = tmp_path_factory.mktemp("tiny")
    cells = kinds.copy()
    cells.var_names = cells.var["ensembl_id"].to_numpy()
    cells.write_h5ad(folder / "cells.h5ad")
    core = {"d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 16}
    config = build(
        {
            "data": {"paths": [str(folder / "cells.h5ad")], "batch_tokens": 2048},
            "model": {"max_length": 64, "core": core},
            "trainer": {"max_steps": 3, "accelerator": "cpu"},
        }
    )
    train(config, folder / "run")
    return folder / "run" / "model"


FAST = {"device": "cpu", "batch_tokens": 1024, "epochs": 6, "rate": 0.03}


def test_several_labels_share_one_model(kinds, query, model, tmp_path):
    options = FAST | {"epochs": 1}
    fitted = annotate.fit(
        kinds, label=["kind", "state"], model=model, method="lora", output=tmp_path / "made", **options
    )
    report = fitted.heads[0].report
    assert report["held_out"]["macro_f1"] > report["baselines"][0]["macro_f1"] + 0.2
    assert report["unknown"]["novelty"]["reads"] == ["doubt", "factors"]
    here = annotate.predict(query, fitted, copy=True, device="cpu")
    there = annotate.predict(query, tmp_path / "made", copy=True, device="cpu")
    for key in ("biolm_kind", "biolm_state"):
        np.testing.assert_allclose(here.obs[f"{key}_novelty"], there.obs[f"{key}_novelty"], atol=1e-4)
        held = there.obsm[f"{key}_probabilities"]
        np.testing.assert_allclose(here.obsm[f"{key}_probabilities"], held, atol=1e-6)
        np.testing.assert_allclose(held.sum(1), 1, atol=1e-5)


def gene_labels(kinds):
    """The first 36 genes are of one kind of cell each; the next 36 are of none."""
    ids = kinds.var["ensembl_id"].tolist()
    return dict.fromkeys(ids[:36], "marker") | dict.fromkeys(ids[36:72], "common")


def test_genes_are_labelled_by_a_classifier_of_tokens(kinds, model):
    calls = annotate.label_genes(gene_labels(kinds), data=kinds, model=model, method="full", **FAST)
    assert calls.classes == ("common", "marker")
    assert calls.probabilities.shape == (len(calls.genes), 2)
    np.testing.assert_allclose(calls.probabilities.sum(1), 1, atol=1e-5)
    assert [row["name"] for row in calls.report["scores"]] == ["biolm full", "majority class"]
    assert calls.report["test_genes"] == 14


def test_genes_are_labelled_from_frozen_vectors_in_context(kinds, model):
    calls = annotate.label_genes(gene_labels(kinds), data=kinds, model=model, device="cpu")
    names = [row["name"] for row in calls.report["scores"]]
    assert names == ["biolm linear", "majority class", "expression level"]
    assert (calls.labels == "marker").sum() == 36


def test_genes_that_share_a_vector_are_held_out_together():
    """Orthologs: random labels of pairs must not be learned from the twin in another fold."""
    from biolm.tasks.annotate.gene_labels import _frozen
    from biolm.tasks.annotate.settings import FitSettings

    scores = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        vectors = np.repeat(rng.standard_normal((40, 12)), 2, axis=0).astype(np.float32)
        codes = np.repeat(rng.permutation(np.repeat([0, 1], 20)), 2)
        genes = np.array([f"g{i}" for i in range(80)])
        calls = _frozen(vectors, genes, codes, ("a", "b"), None, FitSettings(seed=seed))
        scores.append(calls.report["scores"][0]["macro_f1"])
        assert calls.report["genes_that_share_a_vector"] == 40
    assert 0.35 < np.mean(scores) < 0.6
    with pytest.raises(InputError, match="share one vector"):
        _frozen(
            np.ones((4, 3), np.float32), genes[:4], np.array([0, 0, 1, 1]), ("a", "b"), None, FitSettings()
        )


def test_contradicting_labels_are_refused(tmp_path):
    (tmp_path / "genes.csv").write_text("gene,kind\nCD3D,T\nMS4A1,B\nCD3D,T\nMS4A1,T\n")
    with pytest.raises(InputError, match=r"two different labels \(MS4A1\)"):
        read_gene_table(tmp_path / "genes.csv", None)
    (tmp_path / "genes.csv").write_text("gene,kind\nCD3D,T\nMS4A1,B\nCD3D,T\n")
    assert read_gene_table(tmp_path / "genes.csv", None) == {"CD3D": "T", "MS4A1": "B"}
    twice = {"CD3D": "T", "CD3E": "T", "CD2": "T", "CD79A": "B", "MS4A1": "B", "CD19": "B"}
    with pytest.raises(InputError, match=r"two different labels \(ENSG00000156738\)"):
        annotate.label_genes(twice | {"ENSG00000156738": "T"})


def test_the_command_labels_genes(tmp_path):
    genes = ["CD3D", "CD3E", "CD2", "LCK", "MS4A1", "CD79A", "CD19", "CD22"]
    lines = [f"{gene}\t{'T' if place < 4 else 'B'}" for place, gene in enumerate(genes)]
    (tmp_path / "genes.tsv").write_text("\n".join(["gene\ttype", *lines]))
    command = ["annotate", "genes", str(tmp_path / "genes.tsv"), "-o", str(tmp_path / "out.tsv"), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["scores"][0]["name"] == "biolm linear"
    head = (tmp_path / "out.tsv").read_text().splitlines()[0]
    assert head == "gene\tlabel\tcalled\tconfidence\tp_B\tp_T"
    assert CliRunner().invoke(app, command).exit_code == 1


def test_what_cannot_label_genes_is_refused(kinds, tmp_path):
    with pytest.raises(InputError, match="two classes with three known genes"):
        annotate.label_genes({"CD3D": "T", "MS4A1": "B"})
    with pytest.raises(ConfigError, match="not by knn"):
        annotate.label_genes(gene_labels(kinds), method="knn")
    with pytest.raises(ConfigError, match="trains on cells"):
        annotate.label_genes(gene_labels(kinds), method="head")
    with pytest.raises(ConfigError, match="no tokens of genes"):
        annotate.label_genes(gene_labels(kinds), data=kinds, method="head")
    (tmp_path / "x.csv").write_text("gene,kind\nA,b\n")
    with pytest.raises(InputError, match="no column 'other'"):
        read_gene_table(tmp_path / "x.csv", "other")


def test_the_commands_fit_and_predict(kinds, query, tmp_path):
    kinds.write_h5ad(tmp_path / "train.h5ad")
    query.write_h5ad(tmp_path / "query.h5ad")
    fit = ["annotate", "fit", str(tmp_path / "train.h5ad"), "-o", str(tmp_path / "made"), "--method", "knn"]
    done = CliRunner().invoke(app, [*fit, "--label", "kind", "--batch", "donor"])
    assert done.exit_code == 0, done.output
    assert "PCA-50 + logistic regression" in done.stdout
    predict = ["annotate", "predict", str(tmp_path / "query.h5ad"), "-a", str(tmp_path / "made"), "--json"]
    done = CliRunner().invoke(app, [*predict, "-o", str(tmp_path / "named.h5ad")])
    assert done.exit_code == 0, done.output
    assert sum(json.loads(done.stdout)["cells"]["biolm_kind"].values()) == 60
    import anndata

    named = anndata.read_h5ad(tmp_path / "named.h5ad")
    assert named.obs["biolm_kind"].cat.categories.tolist() == ["B", "NK", "T", "unknown"]
    for wrong, status, words in (
        ([*fit, "--label", "no"], 1, "exists already"),
        ([*predict, "-o", str(tmp_path / "x.npy")], 2, "h5ad or zarr"),
        ([*predict, "-o", str(tmp_path / "x.h5ad"), "--coarse", "T"], 2, "give both --ontology and --coarse"),
    ):
        done = CliRunner().invoke(app, wrong)
        assert done.exit_code == status
        assert words in done.stderr
