"""Learning rates as a function of the step, and which parameters are decayed."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from biolm.training.config import OptimiserConfig, ScheduleConfig

__all__ = ["lr_fraction", "parameter_groups"]


def lr_fraction(step: int, steps: int, config: ScheduleConfig) -> float:
    """Fraction of the full learning rate at optimiser step ``step`` (from 0) of ``steps``.

    A function of the step alone, so there is no state to save.

    Parameters
    ----------
    step
        From 0.
    steps
        Of the run.
    config
        Of the schedule.

    Examples
    --------
    >>> config = ScheduleConfig(kind="linear", warmup=2, end=0.0)
    >>> [round(lr_fraction(step, 6, config), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warmup = config.warmup * steps if config.warmup < 1 else config.warmup
    if step < warmup:
        # From step 0 on above 0: a first step at rate 0 would be one for nothing.
        return min(1.0, (step + 1) / warmup)
    if config.kind == "constant":
        return 1.0
    # Warm-up, stable, decay (Hu et al. 2024, MiniCPM): falls only over the last part.
    begin = max(warmup, steps * (1 - config.decay)) if config.kind == "wsd" else warmup
    place = min(max((step - begin) / max(steps - begin, 1), 0.0), 1.0)
    left = (1 + math.cos(math.pi * place)) / 2 if config.kind == "cosine" else 1 - place
    return config.end + (1 - config.end) * left


def parameter_groups(model: nn.Module, config: OptimiserConfig) -> list[dict[str, Any]]:
    """Matrices are decayed; embeddings, norms, biases and other vectors are not.

    Parameters
    ----------
    model
        With all that learns.
    config
        Decay of the weights.
    """
    spared = {
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        # Rare tokens get few gradients, and decay at every step would wear them away.
        if isinstance(module, nn.Embedding) or parameter.dim() < 2
    }
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in learned if id(p) not in spared], "weight_decay": config.weight_decay},
        {"params": [p for p in learned if id(p) in spared], "weight_decay": 0.0},
    ]
