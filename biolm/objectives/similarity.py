"""Elastic cell similarity (scGPT's ECS): pairs of cells are pulled together or apart at a threshold.

Dimensions: ``n`` cells of this rank · ``m`` of all ranks · ``d`` width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Output
from biolm.core import Transformer
from biolm.objectives.base import Objective, Prepared, Score, Settings, Sum
from biolm.objectives.gather import Gathered, gather_rows

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


def elastic_similarity(
    cells: Tensor, threshold: float, *, everywhere: bool = False, real: bool = True
) -> Tensor:
    """``mean(1 − (relu(cos) − threshold)²)`` over pairs of cells; the cosine with itself is 0.

    Parameters
    ----------
    cells
        ``(n, d)`` vectors.
    threshold
        See :class:`CellSimilaritySettings`.
    everywhere
        Pair them with the cells of other ranks too; every rank must then make the same calls.
    real
        Off for cells that are nobody's pair, see :class:`~biolm.objectives.base.Prepared`.

    Returns
    -------
    ``(n,)`` mean of each cell's pairs.
    """
    # Half precision knows cosines to three digits.
    with torch.autocast(cells.device.type, enabled=False):
        unit = F.normalize(cells.float(), dim=1)
        others = gather_rows(unit) if everywhere else Gathered(unit)
        itself = torch.arange(len(cells), device=cells.device) + others.start
        cosine = (unit @ others.rows.T).scatter(1, itself[:, None], 0.0)  # (n, m)
        taking = torch.full((len(cells),), float(real), device=cells.device)
        weights = gather_rows(taking).rows if everywhere else taking
        return (1 - (F.relu(cosine) - threshold) ** 2) @ weights / weights.sum().clamp(min=1)


class CellSimilarity(Objective):
    """Elastic similarity of the cells of a batch, of all ranks, counted once for each cell."""

    Settings = CellSimilaritySettings

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Cells."""
        return {"loss": float(len(prepared.batch))}

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss of all pairs."""
        cells = self.vectors(output, prepared, self.settings.pool)
        # Ranks may have different numbers of validation batches, and would wait for each other.
        losses = elastic_similarity(
            cells, self.settings.threshold, everywhere=self.training, real=prepared.real
        )
        return Score({"loss": Sum.of(losses)})
