"""What a model must beat: guessing by how often each token occurs, or the mean value.

Dimensions: ``m`` predicted tokens · ``v`` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from biolm.objectives.base import Objective, Prepared
from biolm.objectives.weighted import Weighted
from biolm.training.examples import Survey

__all__ = ["Baseline"]


class Baseline:
    """Losses of the trivial predictor on the same targets.

    Targets that are token ids are guessed by their share among the training examples' tokens (unigram, one
    added to each count); targets that are values by the training mean, scored by the squared error.

    Parameters
    ----------
    found
        Token counts and mean value of the training examples.
    special_ids
        Tokens that are never predicted.

    Examples
    --------
    >>> import numpy as np
    >>> found = Survey(np.array([2]), np.array([False]), np.array([0, 2, 0]), 0.0)
    >>> Baseline(found, (0,)).token_losses(torch.tensor([1])).exp().tolist()
    [1.3333...]
    """

    def __init__(self, found: Survey, special_ids: tuple[int, ...]) -> None:
        counts = torch.from_numpy(found.token_counts).double() + 1.0  # (v,)
        counts[list(special_ids)] = 0.0
        self._losses = -(counts / counts.sum()).log()
        self._mean = found.value_mean

    def token_losses(self, targets: Tensor) -> Tensor:
        """``(m,)`` cross-entropy of token ids."""
        return self._losses.to(targets.device)[targets]

    def value_losses(self, targets: Tensor) -> Tensor:
        """``(m,)`` squared error of values."""
        return (targets.double() - self._mean) ** 2

    def losses(self, objective: Objective, prepared: Prepared) -> dict[str, Tensor]:
        """``(2,)`` total and count, named ``unigram_loss`` or ``mean_loss``; ``unigram_PART/loss`` in a sum.

        Objectives that predict neither tokens nor values by their squared error have none.
        """
        if not isinstance(objective, Weighted):
            return self._of(objective, prepared, "loss")
        losses: dict[str, Tensor] = {}
        inputs = (prepared, *prepared.others)
        for (_, names), given in zip(objective.groups(), inputs, strict=True):
            for name in names:
                part: Any = objective.parts[name]
                losses |= self._of(part, given, f"{name}/loss")
        return losses

    def _of(self, objective: Objective, prepared: Prepared, name: str) -> dict[str, Tensor]:
        targets, rows, values = prepared.targets, prepared.rows, prepared.original.values
        # Objectives without an input of their own do not predict this one's targets.
        if targets is None or rows is None or objective.view is None:
            return {}
        if objective.uses_head and objective.facts.core.head in ("linear", "mlm"):
            return {f"unigram_{name}": _pair(self.token_losses(targets))}
        squared = getattr(objective.settings, "loss", None) == "mse"
        if squared and values is not None and torch.equal(targets, values[rows]):
            return {f"mean_{name}": _pair(self.value_losses(targets))}
        return {}


def _pair(losses: Tensor) -> Tensor:
    """Total and count."""
    return torch.stack((losses.sum(), losses.new_tensor(float(len(losses)))))
