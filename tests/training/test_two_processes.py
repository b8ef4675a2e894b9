"""Two processes on gloo do what one does that accumulates two batches."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file


def run(folder, name, **trainer):
    values = {
        "data": {"paths": [str(folder / "cells.h5ad")], "batch_tokens": 100, "validation": 0.2},
        "model": {
            "max_length": 24,
            "core": {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8, "dropout_residual": 0.1},
        },
        "trainer": {"max_steps": 4, "max_epochs": 9, "accelerator": "cpu", "validate_every": 2, **trainer},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "biolm", "pretrain", f"{name}.yaml", "-o", name, "--debug"]
    environment = {key: value for key, value in os.environ.items() if "RANK" not in key}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return load_file(folder / name / "model" / "model.safetensors"), (
        folder / name / "metrics.csv"
    ).read_text()


@pytest.mark.slow
def test_two_processes_equal_one_that_accumulates(tmp_path):
    import anndata

    made = anndata.AnnData(np.random.default_rng(0).poisson(2.0, (60, 20)).astype(np.float32))
    made.var_names = [f"ENSG{number:011d}" for number in range(20)]
    made.obs_names = [f"c{number}" for number in range(60)]
    made.write_h5ad(tmp_path / "cells.h5ad")
    two, metrics = run(tmp_path, "two", devices=2, strategy="ddp")
    one, _ = run(tmp_path, "one", accumulate=2)
    assert two.keys() == one.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=2e-5, err_msg=name)
    # Only the first process writes.
    assert metrics.count("validation,loss,") == 2
