from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app
from biolm.errors import ConfigError
from biolm.tasks.pretrain import plan_pretraining


@pytest.fixture
def settings(tmp_path):
    """A config over 40 cells of 20 genes."""
    import anndata

    made = anndata.AnnData(np.random.default_rng(0).poisson(2.0, (40, 20)).astype(np.float32))
    made.var_names = [f"ENSG{number:011d}" for number in range(20)]
    made.obs_names = [f"c{number}" for number in range(40)]
    made.write_h5ad(tmp_path / "cells.h5ad")
    values = {
        "data": {"paths": [str(tmp_path / "cells.h5ad")], "batch_tokens": 200, "validation": 0.2},
        "model": {"max_length": 24, "core": {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}},
        "trainer": {"max_steps": 2, "accelerator": "cpu"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    return values


def test_command_trains_and_resumes(settings, tmp_path):
    path, output = str(tmp_path / "run.yaml"), str(tmp_path / "run")
    sizes = CliRunner().invoke(app, ["pretrain", path, "--dry-run", "--json"])
    assert json.loads(sizes.stdout)["steps"] == 2
    assert not (tmp_path / "run").exists()
    shown = CliRunner().invoke(app, ["pretrain", path, "--dry-run", "--set", "trainer.max_steps=1"])
    assert "steps" in shown.stdout
    done = CliRunner().invoke(app, ["pretrain", path, "-o", output, "--json", "--set", "name=tiny"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["steps"] == 2
    assert biolm.load(summary["model"]).name == "tiny"
    again = CliRunner().invoke(app, ["pretrain", path, "-o", output])
    assert again.exit_code == 1
    assert "--resume" in again.output
    more = CliRunner().invoke(app, ["pretrain", path, "-o", output, "--resume", "--set", "name=tiny"])
    assert more.exit_code == 0


def test_wrong_settings_are_wrong_use(settings, tmp_path):
    path = str(tmp_path / "run.yaml")
    wrong = CliRunner().invoke(app, ["pretrain", path, "--dry-run", "--set", "trainer.max_step=1"])
    assert wrong.exit_code == 2
    assert "did you mean 'max_steps'" in wrong.output
    assert CliRunner().invoke(app, ["pretrain", path]).exit_code == 2


def test_a_dictionary_is_left_as_it_was(settings):
    before = json.dumps(settings)
    assert plan_pretraining(settings, changes=["trainer.max_steps=1"])["steps"] == 1
    assert json.dumps(settings) == before
    with pytest.raises(ConfigError, match="there is no objective"):
        plan_pretraining({**settings, "objectives": {"masked_token": {}}})
