"""Novelty of a cell: how unlike the known types it is; above 1 it is called unknown.

Dimensions: ``n`` cells · ``h`` held-out cells of known types · ``w`` width of factor space.

Two scores are joined: doubt, the larger of what confidence lacks and of Mahalanobis' distances by the model's
vectors and by genes; and Mahalanobis' distance to the nearest class in factor space, where cells of any gene
panel are compared whatever model names them. Which join, and why, stands in
``docs/explanation/novelty.md``. The cut-off is set so that a promised fraction of cells of known types, which
were held out in whole groups where there are any, lies above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.annotate.distance import Distance, Space

__all__ = ["LOSSES", "HeldOut", "Novelty", "doubt_of", "quantile_by_group"]

LOSSES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Losses of known cells whose cut-offs are kept beside that of the promise."""
_SMALL = 1e-6
_NARROW = 1e-3


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What is known of cells of known types that were held out.

    Parameters
    ----------
    doubt
        ``(h,)`` larger of the classifier's doubt and of the distances over their limits.
    near
        ``(h,)`` distance in factor space; None where there is none.
    groups
        ``(h,)`` names of groups that were held out whole; None where single cells were.
    """

    doubt: NDArray[np.float64]
    near: NDArray[np.float64] | None
    groups: NDArray[np.str_] | None


@dataclass(frozen=True, eq=False)
class Novelty:
    """How the scores are joined, and where the cut-off lies.

    Parameters
    ----------
    alone
        Doubt that counts as 1 where there is no distance in factor space.
    space
        The classes in factor space; None where there is none.
    scales
        Median and limit of the logarithms of ``doubt`` and ``near`` among held-out cells.
    limit
        Joined score that counts as 1.
    facts
        The promise, what was held out for it and how well it was kept there, as plain numbers.
    """

    alone: float
    space: Space | None = None
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limit: float = 1.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def set_on(cls, known: HeldOut, space: Space | None, loss: float, instead: str = "") -> Novelty:
        """Set scales and cut-offs on cells of known types.

        Parameters
        ----------
        known
            What the training cells say of such cells.
        space
            All training cells in factor space.
        loss
            Fraction of known cells that may lie above 1; of groups that were held out each counts alike.
        instead
            Why cells were held out, where groups were asked for.
        """
        alone = max(quantile_by_group(known.doubt, 1 - loss, known.groups), _SMALL)
        novelty = cls(alone)
        if space is not None and known.near is not None:
            pairs = {"doubt": known.doubt, "near": known.near}
            scales = {name: _scale(values, loss, known.groups) for name, values in pairs.items()}
            novelty = cls(alone, space, scales)
            joined = novelty.score(known.doubt, known.near).astype(np.float64)
            limit = max(quantile_by_group(joined, 1 - loss, known.groups), _NARROW)
            novelty = cls(alone, space, scales, limit)
        scores = novelty.score(known.doubt, known.near).astype(np.float64)
        return cls(
            novelty.alone, novelty.space, novelty.scales, novelty.limit, _facts(scores, known, loss, instead)
        )

    def taken_apart(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Plain facts and arrays."""
        facts = {
            "alone": self.alone,
            "scales": {name: list(pair) for name, pair in self.scales.items()},
            "limit": self.limit,
            "facts": dict(self.facts),
        }
        spaces, arrays = Distance(() if self.space is None else (self.space,)).taken_apart()
        return facts | {"spaces": spaces}, arrays

    @classmethod
    def joined(cls, facts: Mapping[str, Any], arrays: dict[str, NDArray[Any]]) -> Novelty:
        """From what :meth:`taken_apart` gave, taken out of ``arrays``.

        Parameters
        ----------
        facts
            Plain values.
        arrays
            By name; what is used here is taken out, so that what is left over belongs to the other parts.
        """
        distance = Distance.joined(facts["spaces"], arrays)
        space = None if distance is None else distance.spaces[0]
        scales = {name: (pair[0], pair[1]) for name, pair in facts["scales"].items()}
        return cls(facts["alone"], space, scales, facts["limit"], facts["facts"])

    def score(
        self, doubt: NDArray[np.floating[Any]], near: NDArray[np.floating[Any]] | None
    ) -> NDArray[np.float32]:
        """``(n,)`` novelty: 1 at the cut-off, 0 for a cell that is as unlike its kind as half of them are.

        Parameters
        ----------
        doubt, near
            ``(n,)`` each; ``near`` is None where it is not known, or NaN for the cells of which it is not.
        """
        alone = doubt / self.alone
        if near is None or not self.scales:
            return np.asarray(alone, np.float32)
        parts = [self._scaled("doubt", doubt), self._scaled("near", near)]
        joined = np.mean(parts, axis=0) / self.limit
        return np.where(np.isnan(near), alone, joined).astype(np.float32)

    def _scaled(self, name: str, values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        middle, limit = self.scales[name]
        logs = np.log(np.maximum(values.astype(np.float64), _SMALL))
        return np.asarray((logs - middle) / (limit - middle))


def doubt_of(
    confidence: NDArray[np.floating[Any]], threshold: float, far: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """``(n,)`` the larger of what confidence lacks, over what it may lack, and of the distance ``far``.

    Parameters
    ----------
    confidence
        ``(n,)`` probability of the likeliest class.
    threshold
        Confidence that counts as 1.
    far
        ``(n,)`` distance over its limit.
    """
    lacking = (1 - confidence.astype(np.float64)) / max(1 - threshold, 1e-9)
    return np.asarray(np.maximum(lacking, far), np.float64)


def quantile_by_group(
    values: NDArray[np.floating[Any]], share: float, groups: NDArray[np.str_] | None
) -> float:
    """The smallest value that at least the fraction ``share`` of the groups' cells do not exceed.

    Parameters
    ----------
    values
        ``(n,)``.
    share
        Of the cells, every group counting alike.
    groups
        ``(n,)``; None where cells count alike.

    Examples
    --------
    >>> quantile_by_group(np.array([1.0, 2.0, 3.0, 9.0]), 0.5, np.array(["a", "a", "a", "b"]))
    3.0
    """
    weights = np.ones(len(values))
    if groups is not None:
        _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        weights = 1 / sizes[codes]
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    place = int(np.searchsorted(below, share * below[-1] * (1 - 1e-12)))
    return float(values[order[min(place, len(values) - 1)]])


def _scale(values: NDArray[np.float64], loss: float, groups: NDArray[np.str_] | None) -> tuple[float, float]:
    logs = np.log(np.maximum(values.astype(np.float64), _SMALL))
    middle = float(np.median(logs))
    return middle, max(quantile_by_group(logs, 1 - loss, groups), middle + _NARROW)


def _facts(scores: NDArray[np.float64], known: HeldOut, loss: float, instead: str) -> dict[str, Any]:
    """The promise, cut-offs of other promises, and the fraction above 1 of each group."""
    cutoffs = {
        f"{each:g}": round(quantile_by_group(scores, 1 - each, known.groups), 6)
        for each in sorted({*LOSSES, loss})
    }
    facts: dict[str, Any] = {
        "promised_loss": loss,
        "held_out_cells": len(scores),
        "reads": ["doubt"] if known.near is None else ["doubt", "factors"],
        "cutoffs": cutoffs | {f"{loss:g}": 1.0},
    }
    if known.groups is None:
        return facts | {"held_out": "cells"} | ({"instead_of_groups": instead} if instead else {})
    above = {
        str(name): round(float((scores[known.groups == name] > 1).mean()), 6)
        for name in np.unique(known.groups)
    }
    return facts | {"held_out": "groups", "groups": len(above), "worst_group": max(above.values())}
