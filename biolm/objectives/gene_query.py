"""Gene values from the cell's vector alone (scGPT's MVC or GEPC): it must hold the whole cell.

Dimensions: ``b`` cells · ``m`` tokens that are predicted · ``d`` width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biolm.batch import Output
from biolm.core import Transformer
from biolm.errors import InputError
from biolm.objectives.base import LabelKind, Metadata, Objective, Prepared, Score, Settings
from biolm.objectives.baseline import Baseline, GeneMeans
from biolm.objectives.masked_values import condition_of
from biolm.objectives.masking import documents, is_special
from biolm.objectives.value_heads import CellToGenes, gene_vectors
from biolm.objectives.value_losses import check_loss, count_values, score_values
from biolm.settings import check_least

__all__ = ["GeneQuery", "GeneQuerySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneQuerySettings(Settings):
    """Settings of :class:`GeneQuery`.

    Parameters
    ----------
    pool
        How a cell's vector is made of its tokens.
    loss
        ``mse``, ``mae`` or ``huber``.
    every_token
        Predict all gene tokens, not only those whose values are masked.
    zero_probability, zero_weight, nonzero_only, condition
        As in :class:`~biolm.objectives.masked_values.MaskedValuesSettings`.
    """

    pool: str = "cls"
    loss: str = "mse"
    every_token: bool = False
    zero_probability: bool = False
    zero_weight: float = 1.0
    nonzero_only: bool = False
    condition: str | None = None

    def __post_init__(self) -> None:
        check_loss(self.loss)
        check_least(0, zero_weight=self.zero_weight)


class GeneQuery(Objective):
    """Loss of gene values predicted from the cell's vector; rides on the forward pass of masked values.

    scGPT's masked value prediction for cell modelling (Cui et al. 2024).
    """

    Settings = GeneQuerySettings

    def __init__(self, metadata: Metadata, settings: GeneQuerySettings) -> None:
        super().__init__(metadata, settings)
        self.condition = condition_of(metadata, settings.condition)
        width = 0 if self.condition is None else metadata.core.d_model
        self.head = CellToGenes(metadata.core.d_model, condition=width, zero=settings.zero_probability)

    @classmethod
    def label_kinds(cls, settings: GeneQuerySettings) -> dict[str, LabelKind]:
        """The condition's."""
        return {} if settings.condition is None else {settings.condition: "classes"}

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Values that are asked for."""
        s: GeneQuerySettings = self.settings
        if prepared.original.values is None:
            return {}
        wanted = prepared.original.values[self._rows(prepared)]
        return count_values(wanted, nonzero_only=s.nonzero_only, zero=s.zero_probability)

    def baseline(self) -> Baseline:
        """Mean value of each gene, over the tokens that are predicted."""
        s: GeneQuerySettings = self.settings
        return GeneMeans(self.metadata.core.vocab_size, s.loss, self._asked, nonzero_only=s.nonzero_only)

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:
        """Loss of the masked values, or of all."""
        s: GeneQuerySettings = self.settings
        values = prepared.original.values
        if values is None:
            raise InputError("gene_query needs tokens with values; use an adapter of bins or expression")
        rows = self._rows(prepared)
        cells = self.vectors(output, prepared, s.pool)
        if self.condition is not None:
            cells = torch.cat((cells, self.condition(prepared.example_label(str(s.condition)))), -1)
        genes = gene_vectors(core, prepared.original.ids[rows])  # (m, d)
        counts = torch.bincount(documents(prepared.batch)[rows], minlength=len(prepared.batch))
        return score_values(
            self.head(genes, cells, counts),
            values[rows],
            self.head.logit(genes, cells, counts),
            kind=s.loss,
            zero_weight=s.zero_weight,
            nonzero_only=s.nonzero_only,
        )

    def _asked(self, prepared: Prepared) -> tuple[Tensor, Tensor]:
        """Genes and values ``(m,)`` of the tokens that are predicted."""
        assert prepared.original.values is not None
        rows = self._rows(prepared)
        return prepared.original.ids[rows], prepared.original.values[rows]

    def _rows(self, prepared: Prepared) -> Tensor:
        if prepared.rows is not None and not self.settings.every_token:
            return prepared.rows
        return (~is_special(prepared.original.ids, self.metadata.special_ids)).nonzero().flatten()
