"""Who started the processes of a run, and which of them this is."""

from __future__ import annotations

import pytest

from biolm.errors import ConfigError
from biolm.training.config.read import build, write_config
from biolm.training.run import ranks
from biolm.training.run.train import train

TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4"}
SRUN = {
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
}  # fmt: skip
# A batch script is told of the tasks that it asked for, and has the rank of the first.
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    for name in (*TORCHRUN, *SRUN, *BATCH, "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "first", "by_first", "name"),
    [
        ({}, True, False, "LightningEnvironment"),
        ({"LOCAL_RANK": "1"}, False, True, "LightningEnvironment"),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, True, False, "TorchElasticEnvironment"),
        ({**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0"}, False, False, "TorchElasticEnvironment"),
        ({**SRUN, "SLURM_PROCID": "0"}, True, False, "SLURMEnvironment"),
        ({**SRUN, "SLURM_PROCID": "2"}, False, False, "SLURMEnvironment"),
        (BATCH, True, False, "LightningEnvironment"),
        ({**BATCH, "LOCAL_RANK": "1"}, False, True, "LightningEnvironment"),
        ({**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}, True, False, "LightningEnvironment"),
    ],
)
def test_ranks_and_environments(monkeypatch, variables, first, by_first, name):
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert ranks.is_first() is first
    assert ranks.started_by_first() is by_first
    assert type(ranks.environment()).__name__ == name


@pytest.mark.parametrize("variables", [TORCHRUN, SRUN], ids=["torchrun", "srun"])
def test_as_many_devices_as_processes(monkeypatch, variables):
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    ranks.check_processes(2, 2)
    ranks.check_processes(4, 1)
    with pytest.raises(ConfigError, match=r"run started 4 processes, but .* is 1; set trainer.devices"):
        ranks.check_processes(1, 1)


def test_lightning_must_know_the_tasks_of_a_machine(monkeypatch):
    for key, value in SRUN.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(ConfigError, match="ntasks-per-node"):
        ranks.check_processes(2, 2)


def test_one_process_cannot_start_others_on_other_machines():
    ranks.check_processes(8, 1)
    with pytest.raises(ConfigError, match=r"trainer\.nodes above 1 needs torchrun or srun"):
        ranks.check_processes(8, 2)


def test_a_process_that_the_first_started_has_its_settings(monkeypatch, tmp_path):
    """The file of the command may have been edited meanwhile."""
    (tmp_path / "run").mkdir()
    write_config(tmp_path / "run" / "config.yaml", build({"data": {"paths": ["first.h5ad"]}}))
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(Exception, match=r"first\.h5ad"):
        train(build({"data": {"paths": ["edited.h5ad"]}}), tmp_path / "run")
