"""What a run refuses before it begins, and names in place of numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from biolm.errors import ConfigError
from biolm.training.config.read import build
from biolm.training.data.loader import Stream
from biolm.training.run.job import make_objective
from biolm.training.run.prepare import prepare
from biolm.training.run.train import reader_of, train

CORE = {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Counts of 30 cells and 40 genes, of three types and two studies."""
    import anndata

    made = anndata.AnnData(np.random.default_rng(0).poisson(0.5, (30, 40)).astype(np.float32))
    made.var_names = [f"ENSG{number:011d}" for number in range(40)]
    made.obs_names = [f"c{number}" for number in range(30)]
    made.obs["cell_type"] = ["T cell", "CD4 T", "B cell"] * 10
    made.obs["study"] = ["a", "b"] * 15
    path = tmp_path_factory.mktemp("checks") / "cells.h5ad"
    made.write_h5ad(path)
    return path


@pytest.fixture
def job_of(cells):
    def make(objectives, **sections):
        return prepare(build(values_of(cells, objectives, **sections)))

    return make


def values_of(cells, objectives, **sections):
    values = {
        "data": {"paths": str(cells), "batch_tokens": 200, "validation": 0.2},
        "model": {"adapter": "continuous", "core": CORE},
        "objectives": objectives,
        "trainer": {"max_steps": 2, "accelerator": "cpu"},
    }
    for name, section in sections.items():
        values[name] |= section
    return values


@pytest.mark.parametrize(
    ("objectives", "sections", "message"),
    [
        ({"masked_counts": {}}, {}, "reads counts.*target_sum: null"),
        ({"masked_counts": {}}, {"model": {"adapter": "bins"}}, "reads counts"),
        ({"a": {"objective": "masked_counts"}, "whole_cell": {}}, {}, "reads counts"),
        ({"masked_values": {"zero_rates": [0.03]}}, {}, "zero_rates is about values of 0.*data.zeros"),
        ({"masked_values": {}, "gene_query": {"zero_probability": True}}, {}, "zero_probability is about"),
        ({"pair_order": {}}, {}, "pairs of texts"),
        ({"two_views": {"segments": True}}, {}, "pairs of texts"),
        ({"panel_contrast": {"panels": [["CD4x", "nothing"]]}}, {}, "no gene of the panel"),
        ({"panel_contrast": {"panels": ["nowhere.txt"]}}, {}, "no text file that can be read"),
        (
            {"triplet": {"related": [["T cell", "CD4"]]}, "masked_values": {}},
            {},
            "related names the class 'CD4'.*did you mean 'CD4 T'",
        ),
    ],
)
def test_objectives_that_do_not_fit_are_refused(job_of, objectives, sections, message):
    with pytest.raises(ConfigError, match=message):
        make_objective(job_of(objectives, **sections))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"zeros": 5}, "model": {"adapter": "rank"}}, "data.zeros is for values"),
        ({"data": {"zeros": 50}, "model": {"max_length": 40}}, "no room for expressed genes"),
        ({"data": {"zeros": -1}}, "0 or more"),
        (
            {"model": {"tokenizer": {"max_length": "many"}}},
            "model.tokenizer.max_length must be a whole number",
        ),
        ({"model": {"core": {"d_model": "wide"}}}, "model.core.d_model must be a whole number"),
        ({"trainer": {"precision": "fp16"}}, "fp16 needs a GPU"),
    ],
)
def test_settings_that_do_not_fit_are_refused(cells, tmp_path, sections, message):
    with pytest.raises(ConfigError, match=message):
        train(build(values_of(cells, {"masked_values": {}}, **sections)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_genes_and_classes_go_by_name(job_of, tmp_path):
    names = [f"ENSG{number:011d}" for number in range(8)]
    (tmp_path / "panel.txt").write_text("\n".join(names) + "\nnothing\n\n")
    panels = [names[:3], str(tmp_path / "panel.txt"), [4, 5]]
    objectives = {
        "panel_contrast": {"panels": panels, "panel_share": 1.0},
        "triplet": {"related": [["T cell", "CD4 T"]]},
    }
    job = job_of(objectives)
    objective = make_objective(job)
    tokens = job.vocabulary.tokens
    wanted = ([tokens[name] for name in names[:3]], [tokens[name] for name in names], [4, 5])
    assert objective.part("panel_contrast").settings.panels == tuple(map(tuple, wanted))
    assert job.labels.classes["cell_type"] == ("B cell", "CD4 T", "T cell")
    assert objective.part("triplet").settings.related == ((2, 1),)


def test_cells_with_zeros_train_and_held_out_ones_stay_the_same(job_of):
    zero_aware = {"masked_values": {"rates": [0.3], "zero_rates": [0.2], "zero_probability": True}}
    job = job_of(
        zero_aware, data={"zeros": 6}, model={"tokenizer": {"max_length": 12}}, trainer={"max_epochs": 2}
    )
    assert job.found.lengths.max() <= 12
    objective = make_objective(job)
    for valid in (False, True):
        found = {}
        per_epoch = len(job.valid.rows) if valid else len(job.train.rows)
        reader, seen = reader_of(job, objective, valid=valid), 0
        for _, prepared in Stream(reader=reader, epochs=2):
            batch = prepared.original
            for key, ids, values in zip(
                prepared.keys.tolist(),
                batch.ids.split(batch.lengths.tolist()),
                batch.values.split(batch.lengths.tolist()),
                strict=True,
            ):
                # The cls token has value 0 too.
                assert (values[1:] == 0).sum() == 6
                assert len(ids) == job.found.lengths[key]
                found[seen // per_epoch, key] = ids.tolist()
                seen += 1
            assert (prepared.targets == 0).any()
        changed = [found[0, key] != found[1, key] for epoch, key in found if epoch == 0]
        assert (np.mean(changed) > 0.8) != valid
        assert any(changed) != valid


def test_places_must_not_give_zeros_away(job_of):
    job = job_of({"masked_values": {}}, data={"zeros": 6}, model={"core": CORE | {"position": "rope"}})
    with pytest.raises(ConfigError, match=r"data.zeros needs model.core.position none"):
        make_objective(job)


def test_whole_cells_must_not_be_cut(job_of):
    model = {"adapter": "continuous", "max_length": 12}
    job = job_of({"whole_cell": {}}, model=model)
    cut = int((job.found.lengths == 12).sum())
    assert cut
    with pytest.raises(ConfigError, match=f"{cut} of 30 cells fill .* model.max_length to 44 "):
        make_objective(job)
    make_objective(job_of({"whole_cell": {"zeros_share": 0.0}}, model=model))
    with pytest.raises(ConfigError, match=r"leave data\.zeros out"):
        make_objective(job_of({"whole_cell": {}}, model=model | {"max_length": 44}, data={"zeros": 5}))
    make_objective(job_of({"whole_cell": {"max_tokens": 12}}, model=model | {"max_length": 44}))


def test_views_that_differ_by_dropout_need_a_core_that_learns(job_of):
    job = job_of({"two_views": {}}, model={"core": CORE | {"dropout_residual": 0.1}})
    make_objective(job)
    config = dataclasses.replace(job.config, model=dataclasses.replace(job.config.model, freeze="all"))
    with pytest.raises(ConfigError, match="takes the dropout out of the core"):
        make_objective(dataclasses.replace(job, config=config))


def test_mixed_precision_trains_as_full_does(cells, tmp_path):
    sections = {
        "trainer": {"max_steps": 6, "max_epochs": 9, "clip": 0.1, "validate_every": 6},
        "optimiser": {},
    }
    values = values_of(cells, {"masked_values": {}}, trainer=sections["trainer"])
    scores = {}
    for precision in ("fp32", "bf16"):
        values["trainer"]["precision"] = precision
        scores[precision] = train(build(values), tmp_path / precision).scores["loss"]
    assert scores["bf16"] == pytest.approx(scores["fp32"], rel=0.02)
    assert scores["bf16"] != scores["fp32"]
