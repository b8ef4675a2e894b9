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
    from biolm.objectives.base import Prepared

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
        local = self.counts[ranges, targets] + _BACK_OFF * overall[targets]
        local /= self.counts.sum(1)[ranges] + _BACK_OFF
        return {
            "unigram": _summed(-overall[targets].log()),
            "place": _summed(-local.log()),
            "majority": _summed((targets == overall.argmax()).double()),
        }


class LabelFrequencies(Baseline):
    """Cross-entropy and accuracy of class frequencies.

    Parameters
    ----------
    classes
        ``v``.
    column
        Label column.
    tokens
        Whether tokens are labelled, not examples.
    """

    def __init__(self, classes: int, column: str, *, tokens: bool = False) -> None:
        self.counts = torch.ones(classes, dtype=torch.float64)
        self.column, self.tokens = column, tokens

    def update(self, prepared: Prepared) -> None:
        """Count the labels."""
        self.counts += torch.bincount(self._labels(prepared), minlength=len(self.counts))

    def report(self, prepared: Prepared) -> dict[str, Tensor]:
        """``frequencies`` and ``majority``."""
        labels = self._labels(prepared)
        share = self.counts / self.counts.sum()
        return {
            "frequencies": _summed(-share[labels].log()),
            "majority": _summed((labels == share.argmax()).double()),
        }

    def _labels(self, prepared: Prepared) -> Tensor:
        labels = _labels(prepared, self.column, tokens=self.tokens)
        return labels[labels >= 0]


class LabelMean(Baseline):
    """Loss of the mean of a column of numbers (``mean``), and its absolute error (``mean_mae``).

    Parameters
    ----------
    column
        Label column.
    loss
        ``mse``, ``mae`` or ``huber``.
    scale
        What errors are divided by before the loss.
    tokens
        Whether tokens are labelled, not examples.
    """

    def __init__(self, column: str, loss: str, *, scale: float = 1.0, tokens: bool = False) -> None:
        self.column, self.loss, self.scale, self.tokens = column, loss, scale, tokens
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
        values = _labels(prepared, self.column, tokens=self.tokens).double()
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
    rows
        Which tokens of a batch are targets; by default the hidden ones.
    nonzero_only
        Leave true zeros out.
    """

    def __init__(
        self,
        genes: int,
        loss: str,
        rows: Callable[[Prepared], Tensor] | None = None,
        *,
        nonzero_only: bool = False,
    ) -> None:
        self.rows = rows
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
        ids, column = prepared.original.ids.cpu(), prepared.original.values
        assert column is not None
        values = column.double().cpu()
        rows = prepared.rows if self.rows is None else self.rows(prepared)
        assert rows is not None
        ids, values = ids[rows.cpu()], values[rows.cpu()]
        kept = values != 0 if self.nonzero_only else torch.ones_like(values, dtype=torch.bool)
        return ids[kept], values[kept]


def _labels(prepared: Prepared, column: str, *, tokens: bool) -> Tensor:
    return (prepared.label(column) if tokens else prepared.example_label(column)).cpu()


def _targets(prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Targets ``(m,)`` and the range of places that each lies in."""
    assert prepared.rows is not None
    assert prepared.targets is not None
    place = prepared.batch.positions[prepared.rows].double().cpu()
    ranges = (torch.log1p(place) / torch.log(torch.tensor(1.5))).long().clamp(max=_RANGES - 1)
    return prepared.targets.long().cpu(), ranges


def _summed(items: Tensor) -> Tensor:
    return torch.tensor([float(items.sum()), float(len(items))])
