"""Losses and metrics of a batch as totals with their counts.

A :class:`Sum` is a total and the count it was taken over, so that means over several batches or ranks are
exact: add totals, add counts, divide.

Dimensions: ``m`` items that are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Score", "Sum"]


class Sum(NamedTuple):
    """A total and what it was taken over; both ``()`` float32. A loss's total carries the gradient."""

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides the tuple's method of that name

    @property
    def mean(self) -> Tensor:
        """Total over count; 0 where nothing was counted."""
        return self.total / self.count.clamp(min=1e-12)

    @classmethod
    def of(cls, items: Tensor, weights: Tensor | None = None) -> Sum:
        """Sum of items ``(m,)``, with weights ``(m,)`` whose sum is the count.

        Parameters
        ----------
        items
            ``(m,)``.
        weights
            ``(m,)``; all 1 by default.
        """
        items = items.float()
        if weights is None:
            return cls(items.sum(), items.new_tensor(float(items.numel())))
        weights = weights.to(items.dtype)
        return cls((items * weights).sum(), weights.sum())


@dataclass(frozen=True, slots=True)
class Score:
    """Result of one batch.

    Parameters
    ----------
    terms
        Losses; the loss of the batch is the sum of ``weight * mean``.
    weights
        Of the terms, 1 where absent.
    metrics
        What is only reported, without gradient.
    """

    terms: dict[str, Sum]
    weights: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, Sum] = field(default_factory=dict)

    def loss(self, counts: Mapping[str, Tensor] | None = None) -> Tensor:
        """Weighted sum of the terms' means, ``()``.

        Parameters
        ----------
        counts
            What to divide each term's total by, in place of its own count: over several ranks or accumulated
            batches, the count of all of them over their number.
        """
        parts = [
            self.weights.get(name, 1.0)
            * (term.mean if counts is None else term.total / counts[name].clamp(min=1e-12))
            for name, term in self.terms.items()
        ]
        return torch.stack(parts).sum()

    def report(self) -> dict[str, Tensor]:
        """Terms and metrics as ``(2,)`` tensors (total, count), detached."""
        return {
            name: torch.stack((value.total.detach().float(), value.count.detach().float()))
            for name, value in (*self.terms.items(), *self.metrics.items())
        }
