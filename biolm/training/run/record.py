"""Numbers of a run as it goes: ``metrics.csv``, and TensorBoard where it is asked for."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from biolm.errors import ConfigError
from biolm.extras import advice
from biolm.io.atomic import replacing
from biolm.progress import progress, speaks
from biolm.training.run.module import Means, Pretraining
from biolm.training.run.throughput import peak_flops

__all__ = ["Bar", "Csv", "Record", "TensorBoard"]


class Csv:
    """``metrics.csv``: one row a number, so that any set of objectives fits.

    Columns are ``step``, ``split`` (train or validation), ``name`` and ``value``.

    Parameters
    ----------
    path
        The file; rows of later steps than ``step`` are removed, so that a resumed run repeats none.
    step
        Where the run starts.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        rows = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                # A row that was cut off when the run was killed is of a later step.
                whole = (row for row in csv.reader(file) if len(row) == 4 and row[0].isdigit())
                rows = [row for row in whole if int(row[0]) <= step]
        with replacing(path, overwrite=True) as temporary:
            self._write(temporary, [["step", "split", "name", "value"], *rows])

    def add(self, step: int, split: str, scores: Mapping[str, float]) -> None:
        """Append rows."""
        self._write(self.path, [[step, split, name, repr(value)] for name, value in scores.items()])

    def close(self) -> None:
        """Nothing is held open."""

    def _write(self, path: Path, rows: list[list[Any]]) -> None:
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


class TensorBoard:
    """The same numbers for TensorBoard, as ``split/name``.

    Parameters
    ----------
    folder
        Of the event files.
    step
        Where the run starts; later events of a run that is resumed are hidden.

    Raises
    ------
    ConfigError
        If TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                f"trainer.loggers asks for tensorboard, which is not installed: {advice('train')}"
            ) from error
        # Steps after the checkpoint are made again, and would else stand twice.
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def add(self, step: int, split: str, scores: Mapping[str, float]) -> None:
        """Write numbers."""
        for name, value in scores.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)
        # A run that is killed must not lose what was logged.
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class Bar(pl.Callback):
    """Steps done, their speed and the time left, on stderr."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._advance: Callable[[int], None] | None = None
        self._last = 0

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:  # noqa: ARG002
        """Begin where the run does."""
        self._last = module.step
        bar = progress("training", module.steps, start=module.step, show=speaks(), unit="steps")
        self._advance = self._open.enter_context(bar)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:  # noqa: ARG002
        """Move on; while gradients are accumulated, batches end without a step."""
        if self._advance is not None and module.step > self._last:
            self._advance(module.step - self._last)
            self._last = module.step

    def teardown(self, trainer: pl.Trainer, module: Any, stage: str) -> None:  # noqa: ARG002
        """Take the bar away, also when training fails."""
        self._open.close()


class Record(pl.Callback):
    """Write the numbers of training every so many steps, averaged over them, and those of validations.

    Beside losses and metrics stand the learning rate, tokens and examples a second, and ``mfu``, the fraction
    of the device's peak arithmetic that is used; validations are left out of these.

    Parameters
    ----------
    folder
        Of the run.
    step
        Where the run starts.
    every
        Steps between rows of training.
    loggers
        ``csv``, ``tensorboard``; empty for all processes but the first.
    peak
        Operations a second of one device; 0 for what is known of it.
    """

    def __init__(
        self, folder: Path, step: int, every: int, *, loggers: tuple[str, ...] = ("csv",), peak: float = 0.0
    ) -> None:
        self.every, self.peak = every, peak
        self.loggers: list[Csv | TensorBoard] = []
        if "csv" in loggers:
            self.loggers.append(Csv(folder / "metrics.csv", step))
        if "tensorboard" in loggers:
            self.loggers.append(TensorBoard(folder / "tensorboard", step))
        self._last = step

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Look up, or on a CPU measure, how fast the device can be."""
        half = module.config.trainer.precision != "fp32"
        known = peak_flops(trainer.strategy.root_device, half=half)
        module.throughput.peak = self.peak or known
        module.throughput.read()

    def on_validation_start(self, trainer: pl.Trainer, module: Any) -> None:  # noqa: ARG002
        """Validation is no training."""
        module.throughput.pause()

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:  # noqa: ARG002
        """Training goes on."""
        module.throughput.go_on()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:  # noqa: ARG002
        """Write a row of training at every so many steps."""
        stepped, self._last = module.step != self._last, module.step
        if stepped and (module.step % self.every == 0 or module.step == module.steps):
            self.write_training(trainer, module)

    def write_training(self, trainer: pl.Trainer, module: Pretraining) -> None:
        """Means since the last row.

        Parameters
        ----------
        trainer
            Lightning's.
        module
            What is trained.
        """
        means = module.train_means.means()
        means["rate"] = module.used_lr
        means |= module.throughput.read(trainer.world_size)
        module.train_means = Means()
        self.add(module.step, "train", means)

    def add(self, step: int, split: str, scores: dict[str, float]) -> None:
        """Append numbers to every log.

        Parameters
        ----------
        step
            Optimiser steps so far.
        split
            ``train`` or ``validation``.
        scores
            Numbers by name.
        """
        for logger in self.loggers:
            logger.add(step, split, scores)

    def teardown(self, trainer: pl.Trainer, module: Any, stage: str) -> None:  # noqa: ARG002
        """Close the logs."""
        for logger in self.loggers:
            logger.close()
