"""Elastic cell similarity (scGPT's ECS): pairs of cells are pulled together or apart at a threshold.

Dimensions: ``b`` cells · ``d`` width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Output
from biolm.core import Transformer
from biolm.objectives.base import Objective, Prepared, Score, Settings, Sum

__all__ = ["CellSimilarity", "CellSimilaritySettings", "elastic_similarity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSimilaritySettings(Settings):
    """Settings of :class:`CellSimilarity`.

    Parameters
    ----------
    threshold
        Cosine similarity above which a pair is pulled together, and below which it is pushed apart.
    pool
        How a cell's vector is made of its tokens.
    """

    threshold: float = 0.3
    pool: str = "cls"


def elastic_similarity(cells: Tensor, threshold: float) -> Tensor:
    """``mean(1 − (relu(cos) − threshold)²)`` over pairs of cells ``(b, d)``; the cosine with itself is 0."""
    unit = F.normalize(cells.float(), dim=1)
    cosine = (unit @ unit.T).masked_fill(torch.eye(len(cells), dtype=torch.bool, device=cells.device), 0)
    return (1 - (F.relu(cosine) - threshold) ** 2).mean()


class CellSimilarity(Objective):
    """Elastic similarity of the cells of a batch, counted once for each cell."""

    Settings = CellSimilaritySettings

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Cells."""
        return {"loss": float(len(prepared.batch))}

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss of all pairs."""
        cells = self.vectors(output, prepared, self.settings.pool)
        loss = elastic_similarity(cells, self.settings.threshold)
        count = loss.new_tensor(float(len(cells)))
        return Score({"loss": Sum(loss * count, count)})
