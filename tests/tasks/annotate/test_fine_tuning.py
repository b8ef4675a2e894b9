"""Fine-tuning from the linear solution: where it starts, when it stops, and what it says of itself."""

from __future__ import annotations

import json
from types import SimpleNamespace

import anndata
import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

from biolm import annotate
from biolm.cli.main import app
from biolm.errors import CheckpointError, ConfigError, TrainingError
from biolm.models.registry import load
from biolm.tasks.annotate import annotator, steps, token_runs, tune
from biolm.tasks.annotate.settings import FitSettings
from biolm.tasks.annotate.steps import Choice
from biolm.training.config import ModelConfig
from biolm.training.linear_start import Target, Tuner, Vectors

LARGE = {"device": "cpu", "batch_tokens": 256, "epochs": 12, "rate": 1e-2}
SMALL = {"device": "cpu", "batch_tokens": 1024, "epochs": 2}


@pytest.fixture(scope="module")
def pairs(kinds):
    """Cells whose class is whether one of two programs is on, not both: no sum of genes says it."""
    draws = np.random.default_rng(0)
    first, second = draws.integers(0, 2, (2, 900))
    rates = np.full((900, kinds.n_vars), 0.02)
    for start, is_on in ((0, first), (12, second), (24, 1 - first), (36, 1 - second)):
        rates[is_on == 1, start : start + 4] = 2.5
    obs = {"kind": np.where(first != second, "one", "both or none")}
    counts = csr_matrix(draws.poisson(rates).astype(np.float32))
    cells = anndata.AnnData(counts, obs=obs, var=kinds.var)
    cells.obs_names = [f"c{number}" for number in range(900)]
    return cells


@pytest.fixture(scope="module")
def model(kinds, tmp_path_factory):
    """A small model of cells, hardly trained."""
    from biolm.training.config.read import build
    from biolm.training.run.train import train

    folder = tmp_path_factory.mktemp("small")
    cells = kinds.copy()
    cells.var_names = cells.var["ensembl_id"].to_numpy()
    cells.write_h5ad(folder / "cells.h5ad")
    core = {"d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 64}
    config = build(
        {
            "data": {"paths": [str(folder / "cells.h5ad")], "batch_tokens": 2048},
            "model": {"max_length": 32, "core": core},
            "trainer": {"max_steps": 1, "accelerator": "cpu"},
        }
    )
    train(config, folder / "run")
    return folder / "run" / "model"


@pytest.mark.parametrize("method", ["head", "lora", "full"])
def test_before_any_step_it_says_what_linear_says(kinds, model, method, monkeypatch):
    found = []

    def forced(make, solutions, folds, rates, epochs):
        (solution,) = solutions
        found.extend([solution, make])
        said = solution.whole.logits(solution.points.vectors, solution.points.table)
        start = {"kind": solution.target(solution.whole, solution.offsets(solution.whole))}
        tuner = make(start, solution.rows, rates[0])
        np.testing.assert_allclose(tuner.logits(solution.rows)["kind"], said[solution.rows], atol=1e-4)
        kept = {"kind": said[np.concatenate([fold.test for fold in folds])]}
        return Choice(rate=rates[0], looks=1, facts={"folds": 3}, logits=kept, folds=folds, targets=start)

    monkeypatch.setattr(tune, "choose", forced)
    monkeypatch.setattr(tune, "look_steps", lambda _: 0)
    settings = SMALL | {"features": "joint"}
    fitted = annotate.fit(kinds, label="kind", model=model, method=method, **settings)
    solution = found[0]
    own, linear = fitted.heads[0].frozen.scorer, solution.whole
    np.testing.assert_array_equal(own.vectors, linear.vectors)
    np.testing.assert_array_equal(own.genes, linear.genes)
    np.testing.assert_allclose(own.bias, linear.bias, atol=1e-4)
    report = fitted.heads[0].report
    assert report["held_out"]["macro_f1"] == report["parts"][0]["macro_f1"]
    assert report["fine_tuning"]["difference_to_linear"] == [0, 0, 0]
    assert report["fine_tuning"]["words"].endswith("Linear is enough here.")
    assert fitted.trained == (method != "head")


def test_it_goes_on_where_linear_cannot_tell(pairs, model, tmp_path):
    fitted = annotate.fit(pairs, label="kind", model=model, method="full", output=tmp_path / "made", **LARGE)
    report = fitted.heads[0].report
    tuning, linear = report["fine_tuning"], report["parts"][0]
    assert linear["name"] == "biolm linear, joint"
    assert report["held_out"]["macro_f1"] > linear["macro_f1"] + 0.2
    assert tuning["steps"] > 0
    assert tuning["difference_to_linear"][1] > 0
    assert "Linear is enough" not in tuning["words"]
    assert tuning["gains"]["kind"]["gain"] > 1.64 * tuning["gains"]["kind"]["standard_error"]
    kept = json.loads((tmp_path / "made" / "annotation.json").read_text())
    assert kept["heads"][0]["report"]["fine_tuning"]["steps"] == tuning["steps"]
    assert load(tmp_path / "made" / "model").heads is None
    query = pairs[:60].copy()
    here = annotate.predict(query, fitted, copy=True, device="cpu")
    there = annotate.predict(query, tmp_path / "made", copy=True, device="cpu")
    found = [each.obsm["biolm_kind_probabilities"] for each in (here, there)]
    np.testing.assert_allclose(*found, atol=1e-5)
    assert (np.array(fitted.heads[0].classes)[found[0].argmax(1)] == query.obs["kind"]).mean() > 0.8
    with pytest.raises(ConfigError, match="its own trained model"):
        annotate.predict(query, tmp_path / "made", model=model, copy=True)


def test_calibration_takes_back_what_too_many_steps_claim(kinds, model, monkeypatch):
    """Labels of pure chance, learned by heart: held-out folds say how little that is worth."""

    def course(tuner, solutions, test, nothing, epochs):
        tuner.run(10 * steps.look_steps(tuner))
        yield 10, -1.0, tuner.logits(test)

    monkeypatch.setattr(steps, "_course", course)
    monkeypatch.setattr(steps, "_confirmed", lambda *given: (True, {}))
    options = SMALL | {"rate": 0.1}
    fitted = annotate.fit(kinds, label="state", model=model, method="head", **options)
    found = fitted.heads[0].report["fine_tuning"]["calibration"]
    assert found["temperature"] > 1.5
    assert found["log_loss_after"] < found["log_loss_before"] - 0.1
    assert found["ece_after"] < found["ece_before"]


def test_where_linear_is_enough_no_step_is_taken(kinds, query, model, tmp_path):
    kinds.write_h5ad(tmp_path / "cells.h5ad")
    asked = ["annotate", "fit", str(tmp_path / "cells.h5ad"), "--label", "kind", "--batch", "donor"]
    chosen = ["-m", str(model), "--device", "cpu", "-o", str(tmp_path / "made")]
    done = CliRunner().invoke(app, [*asked, *chosen, "--method", "lora", "--epochs", "2"])
    assert done.exit_code == 0, done.output
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("Linear is enough here: ")
    assert "no step was taken" in last
    assert not (tmp_path / "made" / "model").exists()
    kept = json.loads((tmp_path / "made" / "annotation.json").read_text())
    assert kept["heads"][0]["report"]["fine_tuning"]["steps"] == 0
    assert "Linear is enough here" in (tmp_path / "made" / "report.html").read_text()
    linear = annotate.fit(kinds, label="kind", batch="donor", model=model, device="cpu")
    found = [
        annotate.predict(query, each, copy=True, device="cpu").obsm["biolm_kind_probabilities"]
        for each in (tmp_path / "made", linear)
    ]
    np.testing.assert_array_equal(*found)


def test_a_class_too_small_for_folds_leaves_the_linear_annotator(kinds, model):
    cells = kinds.copy()
    cells.obs["kind"] = ["rare", "rare", *cells.obs["kind"].astype(str)[2:]]
    fitted = annotate.fit(cells, label="kind", model=model, method="head", **SMALL)
    tuning = fitted.heads[0].report["fine_tuning"]
    assert (tuning["steps"], tuning["folds"]) == (0, 0)
    assert "too few rows of a class to hold any out" in tuning["words"]


def test_a_fit_that_is_stopped_leaves_nothing_and_runs_again(kinds, model, tmp_path, monkeypatch):
    calls = []

    def stop(self, steps):
        calls.append(steps)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tuner, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            annotate.fit(kinds, label="kind", model=model, method="lora", output=tmp_path / "made", **SMALL)
    assert calls
    assert not list(tmp_path.iterdir())
    annotate.fit(kinds, label="kind", model=model, method="lora", output=tmp_path / "made", **SMALL)
    assert (tmp_path / "made" / "annotation.json").is_file()


def tuner_of(vectors, wanted, **options):
    """A head on vectors whose labels are as given, from weights of zero."""
    size, width = vectors.shape
    many = 1 if wanted.dtype.kind == "f" else int(wanted.max()) + 1
    target = Target(
        wanted=wanted,
        weights=np.zeros((width, many), np.float32),
        bias=np.zeros(many, np.float32),
        offsets=np.zeros((size, many)),
    )
    given = {"lr": 1e-2, "batch_tokens": 64, "seed": 0, "device": torch.device("cpu")} | options
    rows = np.arange(size)
    return Tuner(None, Vectors(vectors), {"kind": target}, rows, config=ModelConfig(), **given)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_steps_fit_the_vectors_whatever_their_scale(scale):
    draws = np.random.default_rng(0)
    vectors = (draws.normal(size=(120, 4)) * scale + 5 * scale).astype(np.float32)
    wanted = (vectors[:, 0] > 5 * scale).astype(np.int64)
    tuner = tuner_of(vectors, wanted)
    tuner.run(100)
    weights, bias = tuner.maps()["kind"]
    own = tuner.logits(np.arange(120))["kind"]
    np.testing.assert_allclose(vectors @ weights + bias, own, atol=1e-3)
    assert (own.argmax(1) == wanted).mean() > 0.95


def test_numbers_are_learned_and_the_same_seed_gives_the_same_weights():
    draws = np.random.default_rng(0)
    vectors = draws.normal(size=(200, 3)).astype(np.float32)
    wanted = vectors @ np.array([1.0, -2.0, 0.0])
    found = []
    for _ in range(2):
        tuner = tuner_of(vectors, wanted, lr=3e-2)
        tuner.run(200)
        found.append(tuner.maps()["kind"][0])
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0][:, 0], [1, -2, 0], atol=0.1)


def test_a_rate_that_diverges_is_refused_or_dropped(kinds, model, tmp_path, monkeypatch):
    loss = Tuner._loss
    monkeypatch.setattr(Tuner, "_loss", lambda own, rows: loss(own, rows) * (np.nan if own.rate > 1 else 1))
    options = SMALL | {"rate": 2.0}
    with pytest.raises(TrainingError, match=r"lower the learning rate \(`rate`, now 2\)"):
        annotate.fit(kinds, label="kind", model=model, method="full", output=tmp_path / "made", **options)
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(tune._RATES, "full", (2.0, 1e-3))
    fitted = annotate.fit(kinds, label="kind", model=model, method="full", **SMALL)
    assert fitted.heads[0].report["fine_tuning"]["rates"] == [2.0, 1e-3]


def test_models_that_cannot_be_trained_are_refused(kinds, model, tmp_path):
    for method in ("lora", "full"):
        with pytest.raises(ConfigError, match=r"has no layers to train; use .*linear, knn or head"):
            annotate.fit(kinds, label="kind", method=method, output=tmp_path / "made")
    held = load(model)
    settings = FitSettings(method="lora")
    token_runs.check_trainable(held, settings)
    own = type("Own", (type(held),), {"_vectors": lambda self, batch, options: None})
    held.__class__ = own
    with pytest.raises(ConfigError, match="in a way of its own"):
        token_runs.check_trainable(held, settings)
    held = load(model)
    held.preprocessor = SimpleNamespace(**{**vars_of(held.preprocessor), "tokenizer": SimpleNamespace()})
    with pytest.raises(ConfigError, match="cannot be saved once it is trained; use its vectors"):
        token_runs.check_trainable(held, settings)
    assert not list(tmp_path.iterdir())


def vars_of(preprocessor):
    """Fields of a dataclass with slots."""
    return {name: getattr(preprocessor, name) for name in dir(preprocessor) if not name.startswith("__")}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "lora", "features": "embedding"}, "`features` is for method linear, not lora"),
        ({"method": "full", "neighbours": 3}, "`neighbours` is for method knn, not full"),
        ({"method": "linear", "epochs": 3}, "`epochs` is for method head or lora or full, not linear"),
        ({"method": "head", "hidden_state": 1}, "`hidden_state` is for method linear or knn, not head"),
    ],
)
def test_options_that_a_method_does_not_use_are_refused(kinds, options, words):
    with pytest.raises(ConfigError, match=words):
        annotate.fit(kinds, label="kind", **options)


def test_annotators_whose_heads_stand_in_the_model_are_to_be_fitted_again(kinds, tmp_path, monkeypatch):
    annotate.fit(kinds, label="kind", method="knn", output=tmp_path / "made")
    content = annotator._read(tmp_path / "made") | {"trained": True}
    monkeypatch.setattr(annotator, "_read", lambda folder: content)
    monkeypatch.setattr(annotator, "loaded_for", lambda *given: SimpleNamespace(heads=object()))
    with pytest.raises(CheckpointError, match=r"earlier biolm.*fit the annotator again"):
        annotate.load_annotator(tmp_path / "made")
