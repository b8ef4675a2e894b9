"""Two processes on gloo do what one does that accumulates two batches, with whole weights or with shards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import biolm
from biolm.errors import ConfigError
from biolm.training.config.read import build, read_config
from biolm.training.run.train import train

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "processes.py"
CORE = {"d_model": 8, "n_layers": 2, "n_heads": 2, "d_ff": 8, "dropout_residual": 0.1}
TRAINER = {
    "max_steps": 5, "max_epochs": 9, "accelerator": "cpu", "validate_every": 2, "checkpoint_every": 2,
    "ema": 0.5, "save": "best", "gradient_checkpointing": True,
}  # fmt: skip
# A learned temperature, a head of their own, the core's head and a loss over all processes' vectors.
OBJECTIVES = {
    "masked_tokens": {},
    "panel_contrast": {"smallest": 0.3},
    "kind": {"objective": "classify", "column": "kind"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 cells, and a config of each run."""
    import anndata

    folder = tmp_path_factory.mktemp("processes")
    made = anndata.AnnData(np.random.default_rng(0).poisson(2.0, (60, 20)).astype(np.float32))
    made.var_names = [f"ENSG{number:011d}" for number in range(20)]
    made.obs_names = [f"c{number}" for number in range(60)]
    made.obs["kind"] = ["a", "b", "b"] * 20
    made.write_h5ad(folder / "cells.h5ad")
    # Losses that see the vectors of other processes do not see those of other accumulated batches.
    alone = {name: OBJECTIVES[name] for name in ("masked_tokens", "kind")}
    tuned = {"start": str(folder / "one" / "model"), "lora": {"rank": 2}, "core": {}}
    values = {"adapter": "continuous"}
    for strategy in ("ddp", "fsdp"):
        two = {"devices": 2, "strategy": strategy}
        write(folder / f"two_{strategy}.yaml", objectives=alone, **two)
        write(folder / f"all_{strategy}.yaml", **two)
        write(folder / f"lora_{strategy}.yaml", model=tuned, **two)
        write(folder / f"poisoned_{strategy}.yaml", model=values, objectives={"masked_values": {}}, **two)
    for name in ("broken", "stopped", "again"):
        write(folder / f"{name}.yaml", devices=2, strategy="fsdp")
    write(folder / "twice.yaml", objectives=alone, devices=2, strategy="fsdp")
    write(folder / "one.yaml", objectives=alone, accumulate=2)
    return folder


def write(path, *, model=None, objectives=OBJECTIVES, **trainer):
    data = {"paths": [str(path.parent / "cells.h5ad")], "batch_tokens": 100, "validation": 0.2}
    values = {
        "data": data,
        "model": {"max_length": 24, "core": CORE, **(model or {})},
        "objectives": objectives,
        "trainer": {**TRAINER, **trainer},
    }
    path.write_text(yaml.safe_dump(values))


def run(command, folder):
    environment = {key: value for key, value in os.environ.items() if "RANK" not in key}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def one(folder):
    """The run of one process."""
    train(read_config(folder / "one.yaml"), folder / "one")
    return state(folder / "one")


@pytest.fixture(scope="module")
def said(folder, one):
    """What the runs of two processes said; they are run under torchrun, as on a cluster."""
    # This way each machine chooses a free port, so that tests may run at the same time.
    begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    runs = ["two_fsdp", "all_ddp", "all_fsdp", "broken:break", "broken:resume", "lora_ddp", "lora_fsdp"]
    runs += ["stopped:stop", "stopped:resume", "poisoned_ddp:poison", "poisoned_fsdp:poison"]
    return run([*begin, str(SCRIPT), *runs], folder).stdout


def state(folder):
    last = max((folder / "checkpoints").iterdir())
    return {**load_file(last / "training.safetensors"), **load_file(folder / "model" / "model.safetensors")}


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=2e-5, err_msg=name)


def test_the_command_starts_a_second_process_that_keeps_quiet(folder, one):
    command = [sys.executable, "-m", "biolm", "pretrain", "two_ddp.yaml", "-o", "two_ddp", "--json"]
    done = run(command, folder)
    assert done.stdout.count('"model"') == 1
    assert done.stderr.count("wrote two_ddp/model") == 1
    # Only the first process writes.
    assert (folder / "two_ddp" / "metrics.csv").read_text().count("validation,loss,") == 3
    assert_close(state(folder / "two_ddp"), one)


def test_a_script_may_have_several_runs(folder, one):
    """The processes that the first run started are there when the second one begins."""
    run([sys.executable, str(SCRIPT), "again", "twice"], folder)
    assert_close(state(folder / "twice"), one)


def test_shards_equal_one_process_that_accumulates(folder, one, said):
    assert_close(state(folder / "two_fsdp"), one)


def test_shards_are_saved_whole_and_a_run_of_them_goes_on_exactly(folder, said):
    assert "broken, process 0" in said
    assert "broken, process 1" in said
    found, wanted = state(folder / "broken"), state(folder / "all_fsdp")
    assert found.keys() == wanted.keys()
    assert {name.split(".")[0] for name in found} >= {"model", "average", "best", "optimiser"}
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name
    assert_close(wanted, state(folder / "all_ddp"))
    model = biolm.load(folder / "all_fsdp" / "model")
    assert model.heads.classes == {"kind": ("a", "b")}
    saved = load_file(folder / "all_fsdp" / "model" / "model.safetensors")
    assert saved.keys() == model.core.state_dict().keys()


def test_all_processes_stop_after_the_step_in_which_one_hears_a_signal(folder, said):
    assert "stopped, process 0: 143\n" in said
    assert "stopped, process 1: 143\n" in said
    found, wanted = state(folder / "stopped"), state(folder / "all_fsdp")
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name


def test_shards_hold_low_rank_updates_and_frozen_weights(folder, one, said):
    found = state(folder / "lora_fsdp")
    assert_close(found, state(folder / "lora_ddp"))
    name = "layers.0.attention.query.weight"
    assert not torch.equal(found[name], one[name])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_all_processes_stop_when_one_loss_is_no_number(folder, said, strategy):
    name = f"poisoned_{strategy}"
    assert f"{name}, process 0: the loss at step 3 is NaN on another process; its batch is in" in said
    assert f"{name}, process 1: the loss at step 3 is nan; its batch (number 7) is in" in said
    assert torch.isnan(load_file(folder / name / "bad_batch.safetensors")["values"]).all()
    assert [path.name for path in (folder / name / "checkpoints").iterdir()] == ["step-00000002"]


@pytest.mark.parametrize(
    ("trainer", "message"),
    [({"strategy": "fsdp", "precision": "fp16"}, "bf16 or fp32"), ({"strategy": "deepspeed"}, "strategy")],
)
def test_impossible_strategies_are_refused(trainer, message):
    with pytest.raises(ConfigError, match=message):
        build({"data": {"paths": "cells.h5ad"}, "trainer": trainer})
