"""Pretrain: from a YAML of settings to a folder with a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.extras import need

if TYPE_CHECKING:
    from biolm.training.config import RunConfig
    from biolm.training.run.train import Result

__all__ = ["plan_pretraining", "pretrain"]


def pretrain(
    config: str | Path | dict[str, Any] | RunConfig,
    output: str | Path,
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
) -> Result:
    """Train a model and save it as a folder that :func:`biolm.load` opens.

    Parameters
    ----------
    config
        YAML file, the same as a dictionary, or :class:`~biolm.training.config.RunConfig`.
    output
        Folder of the run: resolved config, metrics, checkpoints and at the end ``model``.
    changes
        Each ``section.key=value``, in place of what the config says.
    resume
        Go on from the last checkpoint of that folder. The weights at the end are those of a run that was
        never interrupted, to the bit on a CPU.

    Raises
    ------
    ConfigError
        If a setting is unknown or impossible, or Lightning is not installed.
    InputError
        If the data cannot be read.
    TrainingError
        If the loss is infinite or NaN.

    Examples
    --------
    >>> result = biolm.pretrain("pretrain.yaml", "runs/first")  # doctest: +SKIP
    >>> model = biolm.load(result.model)  # doctest: +SKIP
    """
    chosen = _config(config, changes)
    # After the config was read: a mistake in it is told before Lightning is imported.
    from biolm.training.run.train import train

    return train(chosen, Path(output), resume=resume)


def plan_pretraining(
    config: str | Path | dict[str, Any] | RunConfig, *, changes: Sequence[str] = ()
) -> dict[str, Any]:
    """Sizes, parameters, steps and an estimate of the memory of a run, without training; writes nothing.

    The data are read once or twice, as training would.

    Parameters
    ----------
    config
        As of :func:`pretrain`.
    changes
        Each ``section.key=value``.

    Raises
    ------
    ConfigError, InputError
        As :func:`pretrain`.
    """
    chosen = _config(config, changes)
    from biolm.training.run.job import make_objective
    from biolm.training.run.prepare import prepare

    job = prepare(chosen)
    # For its errors: a plan is to refuse what a run would refuse.
    make_objective(job)
    return job.summary()


def _config(config: str | Path | dict[str, Any] | RunConfig, changes: Sequence[str]) -> RunConfig:
    need("training", "train", "yaml", "pytorch_lightning")
    from biolm.training.config import RunConfig
    from biolm.training.config.read import build, change, read_config

    if isinstance(config, str | Path):
        return read_config(config, changes)
    values = config.as_dict() if isinstance(config, RunConfig) else _copy(config)
    for text in changes:
        change(values, text)
    return build(values)


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    """A copy down to the last section, so that changes leave the caller's dictionary alone."""
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in values.items()}
