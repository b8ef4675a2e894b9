"""Training runs that two processes share, for tests: ``torchrun processes.py NAME[:HOW] ...``.

Each ``NAME.yaml`` is trained into the folder ``NAME``, one after the other, as starting processes takes
longest. ``HOW`` is ``break``, ``poison``, ``stop`` or ``resume``.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from biolm.errors import TrainingError
from biolm.training.config.read import read_config
from biolm.training.run.module import Pretraining
from biolm.training.run.train import train

STEP = 3


class Killed(Exception):
    """Breaks a run off."""


def at_step(how: str):
    """A training step that breaks off at the third step, or spoils what one process reads."""
    usual = Pretraining.training_step

    def step(self, batch, batch_idx):
        if self.step == STEP and how == "break":
            raise Killed
        if self.step == STEP and how == "stop" and self.global_rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.step == STEP and how == "poison" and self.global_rank == 1:
            batch.prepared.batch.values.fill_(float("nan"))
        return usual(self, batch, batch_idx)

    return step


def main() -> None:
    """Train all runs; one that refuses to go on says why."""
    torch.set_num_threads(1)
    usual = Pretraining.training_step
    for text in sys.argv[1:]:
        name, _, how = text.partition(":")
        Pretraining.training_step = at_step(how)
        try:
            train(read_config(Path(f"{name}.yaml")), Path(name), resume=how == "resume")
        except (Killed, TrainingError, SystemExit) as error:
            # One write each, so that the lines of both processes stay apart.
            sys.stdout.write(f"{name}, process {torch.distributed.get_rank()}: {error}\n")
        finally:
            Pretraining.training_step = usual


if __name__ == "__main__":
    main()
