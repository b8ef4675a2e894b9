"""Checkpoints: a folder that ``biolm.load`` opens, with what is needed to go on training beside it.

``training.safetensors`` holds all weights (``model.*``), their moving average (``average.*``), the best ones
so far where they are kept (``best.*``) and AdamW's moments (``optimiser.N.*``, by the order of parameters);
``training.json`` the step, what early stopping knows and fp16's loss scale. Order, masks, dropout and
learning rate are functions of the seed and the step: nothing more is needed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biolm.core.checkpoint import load_strict, read_weights, write_weights
from biolm.errors import CheckpointError
from biolm.io.atomic import remove, replacing
from biolm.io.json_file import read_json
from biolm.models.native import Saved, save
from biolm.training.run.folder import checkpoints
from biolm.training.run.module import Pretraining
from biolm.training.run.shards import gather

__all__ = ["Progress", "restore", "thin_out", "training_state", "write_checkpoint"]


@dataclass(slots=True)
class Progress:
    """Where a run is.

    Parameters
    ----------
    step
        Optimiser steps done.
    best
        Lowest validation loss; None before the first.
    waited
        Validations since then.
    scaler
        State of fp16's loss scale; empty for other precisions.
    scores
        Of the validation of the weights that would be saved.
    scored
        Step of that validation.
    """

    step: int = 0
    best: float | None = None
    waited: int = 0
    scaler: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    scored: int = 0


def training_state(module: Pretraining) -> dict[str, Tensor]:
    """All tensors of a run, whole; all processes must call it, and only the first gets what is in shards.

    Parameters
    ----------
    module
        With an optimiser.
    """
    tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in module.average.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in module.best.items()}
    optimiser: Any = module.optimizers(use_pl_optimizer=False)
    for number, entries in optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            # Steps are plain numbers in some optimisers; safetensors holds tensors alone.
            tensors[f"optimiser.{number}.{key}"] = torch.as_tensor(value)
    return gather(tensors)


def write_checkpoint(
    folder: Path, module: Pretraining, state: dict[str, Tensor], saved: Saved | None, progress: Progress
) -> Path:
    """Write a checkpoint of the current step, whole or not at all.

    Parameters
    ----------
    folder
        Of the checkpoints; made if it is not there.
    module
        Whose checkpoint it is.
    state
        Of :func:`training_state`.
    saved
        What goes beside the weights; None for the state of training alone.
    progress
        Where the run is.
    """
    folder.mkdir(exist_ok=True)
    target = folder / f"step-{progress.step:08d}"
    with replacing(target, overwrite=True) as temporary:
        temporary.mkdir()
        if saved is not None:
            start = "average." if module.average else "model."
            # A checkpoint is a model too: any command opens it while training goes on.
            whole = {name.removeprefix(start): each for name, each in state.items() if name.startswith(start)}
            save(temporary, saved, *module.parts(whole))
        write_weights(temporary / "training.safetensors", state)
        (temporary / "training.json").write_text(json.dumps(asdict(progress)) + "\n", encoding="utf-8")
    return target


def restore(folder: Path, module: Pretraining) -> Progress:
    """Put a checkpoint's state into a module before its trainer starts.

    Parameters
    ----------
    folder
        Of the checkpoint.
    module
        Changed in place.

    Raises
    ------
    CheckpointError
        If it does not fit the module, or lacks a part of the state.
    """
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "best": {}, "optimiser": {}}
    path = folder / "training.safetensors"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no training.safetensors, so training cannot go on from it")
    for name, tensor in read_weights([path]).items():
        kind, _, rest = name.partition(".")
        groups[kind][rest] = tensor
    load_strict(module, groups["model"], folder)
    module.average, module.best = groups["average"], groups["best"]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimiser"].items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    # The optimiser is made later, by Lightning, and takes its state from there.
    module.optimiser_state = state
    stored = read_json(folder / "training.json")
    # Where fp16's loss scale made them skip the first steps, there is no state yet.
    if "step" not in stored or not (state or stored.get("scaler")):
        raise CheckpointError(f"{folder} lacks the step, or the state of the optimiser")
    progress = Progress(**stored)
    module.step = progress.step
    return progress


def thin_out(folder: Path, keep: int) -> None:
    """Remove all but the newest checkpoints of the run in a folder.

    Parameters
    ----------
    folder
        Of the checkpoints.
    keep
        How many stay.
    """
    for old in checkpoints(folder)[:-keep]:
        remove(old)
