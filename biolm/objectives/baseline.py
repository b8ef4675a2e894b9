"""Guessing without a model: what an objective must beat to have learnt anything.

Dimensions: ``m`` targets · ``v`` vocabulary or classes · ``p`` ranges of places.

A baseline counts training batches and reports held-out ones, with the same totals and counts as an objective.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from biolm.objectives.views import Prepared

__all__ = ["Baseline", "GeneMeans", "LabelFrequencies", "LabelMean", "TokenFrequencies"]

_RANGES = 24  # ranges of places, each a half longer than the one before
_BACK_OFF = 1000.0  # targets' worth of trust in the overall frequencies


class Baseline(ABC):
    """Something to compare with."""

    @abstractmethod
    def update(self, prepared: Prepared) -> None:
        """Count a training batch."""

    @abstractmethod
    def report(self, prepared: Prepared) -> dict[str, Tensor]:
        """Losses of a held-out batch, each ``(2,)``: total and count."""


class TokenFrequencies(Baseline):
    """Cross-entropy of frequencies overall (``unigram``) and in the same range of places (``place``).

    ``majority`` is the accuracy of always saying the most frequent one, such as the most frequent bin.

    In cells whose genes are in rank order, the place of a gene tells much about it: the second baseline knows
    each gene's usual rank and nothing else.

    Parameters
    ----------
    classes
        ``v``.
    """

    def __init__(self, classes: int) -> None:
        self.counts = torch.zeros(_RANGES, classes, dtype=torch.float64)

    def update(self, prepared: Prepared) -> None:
        """Count the targets."""
        targets, ranges = _targets(prepared)
        flat = ranges * self.counts.shape[1] + targets
        self.counts += torch.bincount(flat, minlength=self.counts.numel()).view_as(self.counts)

    def report(self, prepared: Prepared) -> dict[str, Tensor]:
        """``unigram``, ``place`` and ``majority``."""
        targets, ranges = _targets(prepared)
        overall = self.counts.sum(0) + 1
        overall /= overall.sum()
        # A range with few targets falls back on the overall frequencies.
        local = self.counts[ranges, targets] + _BACK_OFF * overall[targets]
        local /= self.counts.sum(1)[ranges] + _BACK_OFF
        return {
            "unigram": _summed(-overall[targets].log()),
            "place": _summed(-local.log()),
            "majority": _summed((targets == overall.argmax()).double()),
        }


class LabelFrequencies(Baseline):
    """Loss of the best guess that is the same for all (``frequencies``), and accuracy of the usual class.

    Without weights and smoothing that guess is the frequencies of the classes.

    Parameters
    ----------
    classes
        ``v``.
    labels
        Labels ``(n,)`` of a batch; negative ones are left out.
    weights
        ``(v,)`` of the classes in the loss; None for none.
    smoothing
        Fraction of the target's mass spread over the classes.
    """

    def __init__(
        self,
        classes: int,
        labels: Callable[[Prepared], Tensor],
        weights: Tensor | None = None,
        smoothing: float = 0.0,
    ) -> None:
        self.counts = torch.ones(classes, dtype=torch.float64)
        self.labels, self.smoothing = labels, smoothing
        self.weights = torch.ones_like(self.counts) if weights is None else weights.double().cpu()

    def update(self, prepared: Prepared) -> None:
        """Count the labels."""
        self.counts += torch.bincount(self._known(prepared), minlength=len(self.counts))

    def report(self, prepared: Prepared) -> dict[str, Tensor]:
        """``frequencies`` and ``majority``."""
        labels = self._known(prepared)
        spread = self.counts.sum() / len(self.counts)
        guess = self.weights * torch.lerp(self.counts, spread.expand_as(self.counts), self.smoothing)
        costs = -self.weights * (guess / guess.sum()).log()
        losses = torch.lerp(costs[labels], costs.mean().expand(len(labels)), self.smoothing)
        weight = self.weights[labels].sum()
        return {
            "frequencies": torch.stack((losses.sum(), weight)).float(),
            "majority": _summed((labels == self.counts.argmax()).double()),
        }

    def _known(self, prepared: Prepared) -> Tensor:
        labels = self.labels(prepared).cpu()
        return labels[labels >= 0]


class LabelMean(Baseline):
    """Loss of the mean of a column of numbers (``mean``), and its absolute error (``mean_mae``).

    Parameters
    ----------
    numbers
        Numbers ``(n,)`` of a batch; NaN is left out.
    loss
        ``mse``, ``mae`` or ``huber``.
    scale
        What errors are divided by before the loss.
    """

    def __init__(self, numbers: Callable[[Prepared], Tensor], loss: str, *, scale: float = 1.0) -> None:
        self.numbers, self.loss, self.scale = numbers, loss, scale
        self.sum, self.count = 0.0, 0

    def update(self, prepared: Prepared) -> None:
        """Add the numbers."""
        values = self._values(prepared)
        self.sum, self.count = self.sum + float(values.sum()), self.count + len(values)

    def report(self, prepared: Prepared) -> dict[str, Tensor]:
        """``mean`` and ``mean_mae``."""
        from biolm.objectives.value_losses import value_loss

        values = self._values(prepared)
        guess = torch.full_like(values, self.sum / max(self.count, 1))
        losses = value_loss(guess / self.scale, values / self.scale, self.loss)
        return {"mean": _summed(losses), "mean_mae": _summed((values - guess).abs())}

    def _values(self, prepared: Prepared) -> Tensor:
        values = self.numbers(prepared).cpu().double()
        return values[~values.isnan()]


class GeneMeans(Baseline):
    """Loss of each gene's mean value over the targets of the training batches (``gene_mean``).

    A gene that was never a target has the mean of all.

    Parameters
    ----------
    genes
        ``v``.
    loss
        ``mse``, ``mae`` or ``huber``.
    targets
        Genes and values ``(m,)`` of a batch's targets; by default those of its masked tokens.
    nonzero_only
        Leave true zeros out.
    """

    def __init__(
        self,
        genes: int,
        loss: str,
        targets: Callable[[Prepared], tuple[Tensor, Tensor]] | None = None,
        *,
        nonzero_only: bool = False,
    ) -> None:
        self.targets = targets or _masked_values
        self.sums, self.counts = (torch.zeros(genes, dtype=torch.float64) for _ in range(2))
        self.loss = loss
        self.nonzero_only = nonzero_only

    def update(self, prepared: Prepared) -> None:
        """Add the values."""
        ids, values = self._values(prepared)
        self.sums.index_add_(0, ids, values)
        self.counts.index_add_(0, ids, torch.ones_like(values))

    def report(self, prepared: Prepared) -> dict[str, Tensor]:
        """``gene_mean``."""
        from biolm.objectives.value_losses import value_loss

        ids, values = self._values(prepared)
        overall = self.sums.sum() / self.counts.sum().clamp(min=1)
        means = torch.where(self.counts > 0, self.sums / self.counts.clamp(min=1), overall)
        return {"gene_mean": _summed(value_loss(means[ids], values, self.loss))}

    def _values(self, prepared: Prepared) -> tuple[Tensor, Tensor]:
        ids, values = self.targets(prepared)
        ids, values = ids.cpu(), values.cpu().double()
        kept = values != 0 if self.nonzero_only else torch.ones_like(values, dtype=torch.bool)
        return ids[kept], values[kept]


def _masked_values(prepared: Prepared) -> tuple[Tensor, Tensor]:
    assert prepared.rows is not None
    assert prepared.original.values is not None
    return prepared.original.ids[prepared.rows], prepared.original.values[prepared.rows]


def _targets(prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Targets ``(m,)`` and the range of places that each lies in."""
    assert prepared.rows is not None
    assert prepared.targets is not None
    # Ranges that grow: the first ranks of a cell differ more than the thousandth from the next.
    place = prepared.batch.positions[prepared.rows].double().cpu()
    ranges = (torch.log1p(place) / torch.log(torch.tensor(1.5))).long().clamp(max=_RANGES - 1)
    return prepared.targets.long().cpu(), ranges


def _summed(items: Tensor) -> Tensor:
    return torch.tensor([float(items.sum()), float(len(items))])
