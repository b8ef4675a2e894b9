from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import break_at

import biolm
from biolm.errors import ConfigError, InputError, OutputError, TrainingError
from biolm.training.config.read import build
from biolm.training.run.job import memory_estimate
from biolm.training.run.module import Pretraining
from biolm.training.run.prepare import prepare
from biolm.training.run.train import train

CORE = {"d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 16, "dropout_residual": 0.1}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """60 cells of two kinds over 30 genes."""
    import anndata

    draws = np.random.default_rng(0)
    rates = np.where(np.arange(30) < 15, 4.0, 0.02)
    counts = np.stack([draws.poisson(rates if cell % 2 else rates[::-1]) for cell in range(60)])
    made = anndata.AnnData(counts.astype(np.float32))
    made.var_names = [f"ENSG{number:011d}" for number in range(30)]
    made.obs_names = [f"c{number}" for number in range(60)]
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    made.write_h5ad(path)
    return path


@pytest.fixture
def config(cells):
    def make(**changes):
        values = {
            "data": {"paths": [str(cells)], "batch_tokens": 128, "chunk": 4, "pool": 16, "validation": 0.2},
            "model": {"max_length": 32, "core": CORE},
            "optimiser": {"lr": 0.02},
            "trainer": {
                "max_steps": 9, "max_epochs": 9, "validate_every": 4, "checkpoint_every": 3,
                "accelerator": "cpu",
            },
        }  # fmt: skip
        for path, value in changes.items():
            place = values
            *sections, key = path.split("__")
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
        return build(values)

    return make


def weights(result):
    return load_file(result.model / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rows(result):
    with (result.folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def logged(folder):
    """Step and value of the held-out loss, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("validation/loss")]


def test_a_run_ends_with_a_model_that_embeds(config, cells, tmp_path):
    result = train(
        config(trainer__max_steps=80, trainer__checkpoint_every=80, trainer__max_epochs=99,
               trainer__loggers=["csv", "tensorboard"]),
        tmp_path / "run",
    )  # fmt: skip
    assert result.steps == 80
    assert result.scores["loss"] < result.scores["unigram"]
    assert result.scores["unigram_perplexity"] == pytest.approx(np.exp(result.scores["unigram"]))
    assert {path.name for path in result.folder.iterdir()} == {
        "config.yaml", "data.json", "lengths.npy", "summary.json", "metrics.csv", "checkpoints", "model",
        "tensorboard",
    }  # fmt: skip
    assert {path.name for path in result.model.iterdir()} == {
        "config.json", "model.safetensors", "vocab.json", "preprocessing.json", "README.md",
    }  # fmt: skip
    model = biolm.load(result.model)
    assert model.name == "biolm-model"
    assert "unigram_perplexity" in (result.model / "README.md").read_text()
    embedded = biolm.embed(cells, model=model)
    assert embedded.obsm["X_biolm-model"].shape == (60, 16)
    validated = [
        int(row["step"]) for row in rows(result) if (row["split"], row["name"]) == ("validation", "loss")
    ]
    assert validated == list(range(4, 81, 4))
    assert {row["name"] for row in rows(result) if row["split"] == "train"} >= {
        "loss",
        "rate",
        "tokens_per_second",
        "examples_per_second",
        "mfu",
    }
    assert logged(result.folder / "tensorboard") == [
        (int(row["step"]), np.float32(row["value"]))
        for row in rows(result)
        if (row["split"], row["name"]) == ("validation", "loss")
    ]


@pytest.mark.parametrize("stop", [2, 5, 8])
def test_a_run_that_was_killed_ends_with_the_same_weights(config, tmp_path, monkeypatch, stop):
    chosen = config(trainer__accumulate=2, trainer__ema=0.5)
    whole = train(chosen, tmp_path / "whole")
    break_at(monkeypatch, stop)
    with pytest.raises(RuntimeError, match="killed"):
        train(chosen, tmp_path / "broken")
    monkeypatch.undo()
    torch.manual_seed(12345)
    result = train(chosen, tmp_path / "broken", resume=True)
    assert same(weights(result), weights(whole))
    last = [
        load_file(max((run.folder / "checkpoints").iterdir()) / "training.safetensors")
        for run in (result, whole)
    ]
    assert same(*last)
    kept = [
        [tuple(row.values()) for row in rows(run) if row["split"] == "validation"] for run in (result, whole)
    ]
    assert kept[0] == kept[1]


def test_workers_do_not_change_the_weights(config, tmp_path):
    one = train(config(trainer__max_steps=4), tmp_path / "one")
    other = train(config(trainer__max_steps=4, data__workers=2), tmp_path / "other")
    assert same(weights(one), weights(other))


def test_a_loss_that_is_no_number_keeps_the_batch_and_the_checkpoint(config, tmp_path, monkeypatch):
    chosen = config()
    usual = Pretraining.training_step

    def poisoned(self, batch, batch_idx):
        if self.step == 5:
            with torch.no_grad():
                self.core.layers[0].mlp.up.weight.fill_(torch.inf)
        return usual(self, batch, batch_idx)

    monkeypatch.setattr(Pretraining, "training_step", poisoned)
    with pytest.raises(TrainingError, match=r"step 5 is (nan|inf).*bad_batch"):
        train(chosen, tmp_path / "run")
    monkeypatch.undo()
    batch = load_file(tmp_path / "run" / "bad_batch.safetensors")
    assert batch["original_ids"][batch["rows"]].tolist() == batch["targets"].tolist()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000003"]
    assert biolm.load(tmp_path / "run" / "checkpoints" / "step-00000003").width == 16
    assert same(
        weights(train(chosen, tmp_path / "run", resume=True)), weights(train(chosen, tmp_path / "whole"))
    )


def test_training_ends_early_without_improvement(config, tmp_path):
    result = train(
        config(trainer__patience=1, optimiser__lr=1e-12, trainer__validate_every=1), tmp_path / "run"
    )
    assert result.steps < 9
    assert result.model.is_dir()


@pytest.mark.parametrize(
    ("adapter", "objectives"),
    [
        ("bins", {"masked_values": {"rates": [0.4]}}),
        ("continuous", {"masked_values": {"rates": [0.4]}, "gene_query": {"weight": 0.5}}),
    ],
)
def test_values_are_learned_beside_the_mean(config, tmp_path, adapter, objectives):
    chosen = config(
        model__adapter=adapter, objectives=objectives, trainer__max_steps=2, trainer__checkpoint_every=2
    )
    result = train(chosen, tmp_path / "run")
    part = "" if len(objectives) == 1 else "masked_values/"
    assert np.isfinite(result.scores[f"{part}loss"])
    assert result.scores[f"{part}gene_mean"] > 0
    assert biolm.load(result.model).config.value_encoder == "continuous"


def test_a_run_that_cannot_begin_leaves_no_folder(config, tmp_path):
    with pytest.raises(InputError, match="names no file"):
        train(config(data__paths=[str(tmp_path / "nothing.h5ad")]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_is_not_overwritten_and_a_run_keeps_its_config(config, tmp_path):
    train(config(trainer__max_steps=1), tmp_path / "run")
    with pytest.raises(OutputError, match="resume=True"):
        train(config(trainer__max_steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"trainer.accumulate is 2, but the run in .* began with 1"):
        train(config(trainer__max_steps=1, trainer__accumulate=2), tmp_path / "run", resume=True)


def test_plans_tell_sizes_and_steps(config, cells):
    job = prepare(config(trainer__max_steps=0, trainer__max_epochs=2, trainer__accumulate=2))
    summary = job.summary()
    assert summary["examples"] == summary["training examples"] + summary["held-out examples"] == 60
    assert summary["vocabulary"] == 34
    assert summary["steps"] == -(-job.train.batches(2) // 2)
    assert summary["parameters"] > 1000
    assert summary["memory estimate (MB)"] >= 0


def test_the_memory_estimate_counts_what_is_kept(config):
    def estimate(core=(), **changes):
        return memory_estimate(prepare(config(model__core={**CORE, **dict(core)}, **changes)))

    causal, job = {"causal": True}, prepare(config())
    some = estimate(causal)
    every = estimate(causal, objectives={"next_token": {}})
    # Logits, their logarithm and gradient of all 128 tokens in place of 15 %.
    assert every - some == pytest.approx(0.85 * 128 * 34 * 3 * 4)
    both = estimate(
        causal, objectives={"next_token": {}, "half": {"objective": "masked_tokens", "rate": 0.5}}
    )
    assert both - every == pytest.approx(0.5 * 128 * 34 * 3 * 4)
    parameters = job.summary()["parameters"]
    assert estimate(trainer__save="best") - estimate() == pytest.approx(4 * parameters)
    assert estimate(trainer__ema=0.9, trainer__save="best") - estimate() == pytest.approx(8 * parameters)
    # No batch is smaller than the longest example.
    assert estimate(data__batch_tokens=1) == estimate(data__batch_tokens=int(job.found.lengths.max()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__core": {"widht": 3}}, "model.core has no setting 'widht'"),
        ({"model__core": {"vocab_size": 3}}, "leave it out"),
        ({"model__core": {"n_heads": 5}}, "n_heads"),
    ],
)
def test_impossible_models_are_refused(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        prepare(config(**changes))


def test_columns_that_no_file_has_are_refused(config, tmp_path):
    chosen = config(objectives={"masked_tokens": {}, "classify": {"column": "kind"}})
    with pytest.raises(InputError, match="no file of cells has the obs column 'kind'"):
        train(chosen, tmp_path / "run")
