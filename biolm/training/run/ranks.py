"""Which of a run's processes this is, and who started it: Lightning, torchrun, or SLURM's srun."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch.distributed as dist

from biolm.errors import ConfigError

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

__all__ = ["check_processes", "environment", "is_first", "started_by_first"]


def is_first() -> bool:
    """Whether this is the process that writes."""
    return _rank() == "0"


def started_by_first() -> bool:
    """Whether the first process, once it had prepared the run, started this one with its own command.

    In a script of several runs that is so for the first run alone: from then on all processes are there.
    """
    return _launcher() is None and _rank() != "0" and not dist.is_initialized()


def check_processes(devices: int, nodes: int) -> None:
    """Refuse a config for another number of processes than were started: each would train a model alone.

    Parameters
    ----------
    devices, nodes
        Of the config.

    Raises
    ------
    ConfigError
        With both numbers, or if nothing can start processes on other machines.
    """
    launcher = _launcher()
    if launcher is None and nodes > 1:
        raise ConfigError(
            "trainer.nodes above 1 needs torchrun or srun, which start the processes of all machines"
        )
    # Lightning counts the devices of a machine by that variable alone.
    if launcher == "srun" and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ConfigError("give srun the devices of a machine as its ntasks-per-node, in place of ntasks")
    started = int(os.environ["WORLD_SIZE"]) if launcher == "torchrun" else _tasks()
    if launcher is not None and started != devices * nodes:
        raise ConfigError(
            f"{launcher} started {started} processes, but trainer.devices times trainer.nodes is "
            f"{devices * nodes}; set trainer.devices to the processes of a machine, trainer.nodes to the "
            "machines"
        )


def environment() -> ClusterEnvironment:
    """How the processes find each other.

    A batch script of SLURM without srun is one process, which starts the others of its machine; Lightning by
    itself would wait for srun to have done so.
    """
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    launcher = _launcher()
    if launcher is None:
        return LightningEnvironment()
    # Requeueing would save a checkpoint of Lightning's own.
    return TorchElasticEnvironment() if launcher == "torchrun" else SLURMEnvironment(auto_requeue=False)


def _launcher() -> str | None:
    """What started all processes at once; None where the first starts the others, or is alone."""
    if dist.is_torchelastic_launched():
        return "torchrun"
    return "srun" if _tasks() > 1 else None


def _rank() -> str:
    name = {"torchrun": "RANK", "srun": "SLURM_PROCID", None: "LOCAL_RANK"}[_launcher()]
    return os.environ.get(name, "0")


def _tasks() -> int:
    """Tasks of the job step of SLURM that this process is one of; 1 for none."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) if "SLURM_STEP_ID" in os.environ else 1
