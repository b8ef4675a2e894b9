"""Masked counts: proportions of the masked genes, by a zero-truncated Poisson (TranscriptFormer).

Dimensions: ``b`` cells · ``m`` masked counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from biolm.batch import Output
from biolm.core import Transformer
from biolm.errors import InputError
from biolm.objectives.base import Metadata, Objective, Prepared, Score, Sum, View
from biolm.objectives.masked_values import MaskingSettings, mask_values, require_values
from biolm.objectives.masking import documents
from biolm.objectives.value_heads import TokenValues
from biolm.objectives.value_losses import zero_truncated_poisson
from biolm.settings import check_least

__all__ = ["MaskedCounts", "MaskedCountsSettings", "log_expected_counts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedCountsSettings(MaskingSettings):
    """Settings of :class:`MaskedCounts`, beside how values are masked.

    Parameters
    ----------
    clip
        Larger counts are this one, in the cell's total too, as TranscriptFormer reads them.
    rectified
        TranscriptFormer's approximate normaliser in place of the exact one.
    """

    clip: float = 30.0
    rectified: bool = False

    def __post_init__(self) -> None:
        MaskingSettings.__post_init__(self)
        check_least(1, clip=self.clip)


def log_expected_counts(logits: Tensor, counts: Tensor, document: Tensor, documents: int) -> Tensor:
    """``log(softmax(logits) * total)`` within each cell, ``(m,)``.

    Parameters
    ----------
    logits, counts
        ``(m,)`` of the tokens that are predicted.
    document
        ``(m,)`` number of their cell.
    documents
        How many cells.
    """
    logits = logits.float()
    # As in a softmax: without the largest of each cell no exponential overflows.
    highest = logits.new_full((documents,), -torch.inf).scatter_reduce(0, document, logits.detach(), "amax")
    lowered = logits - highest[document]
    mass = lowered.new_zeros(documents).index_add(0, document, lowered.exp())
    total = lowered.new_zeros(documents).index_add(0, document, counts.float())
    return lowered - mass.log()[document] + total.log()[document]


class MaskedCounts(Objective):
    """Negative log-likelihood of masked counts above zero, given their sum in the cell."""

    Settings = MaskedCountsSettings
    reads_rows = True
    reads_counts = True

    def __init__(self, metadata: Metadata, settings: MaskedCountsSettings) -> None:
        super().__init__(metadata, settings)
        require_values(metadata, "masked_counts", settings.mask_value)
        self.uses_head = metadata.core.head == "value"
        self.head: nn.Module | None = None if self.uses_head else TokenValues(metadata.core)

    @property
    def view(self) -> View:
        """Some values masked."""
        return mask_values(self.settings, self.metadata)

    def check(self, prepared: Prepared) -> None:
        """Values must be counts.

        Raises
        ------
        InputError
            If one is no whole number.
        """
        assert prepared.targets is not None
        if not torch.equal(prepared.targets, prepared.targets.round()):
            raise InputError(
                "masked_counts meets values that are no whole numbers; give counts, not normalised"
            )

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Masked counts above zero."""
        assert prepared.targets is not None
        return {"loss": float((prepared.targets > 0).sum())}

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss of the masked counts, and of equal shares, the baseline."""
        assert prepared.rows is not None
        assert prepared.targets is not None
        s: MaskedCountsSettings = self.settings
        # A Poisson truncated at zero says nothing of a masked zero.
        expressed = prepared.targets > 0
        rows, counts = prepared.rows[expressed], prepared.targets[expressed].float().clamp(max=s.clip)
        if self.head is None:
            assert output.logits is not None
            logits = output.logits[expressed]
        else:
            logits, _ = self.head(output.states(prepared.rows)[expressed], None)
        document, cells = documents(prepared.batch)[rows], len(prepared.batch)

        def loss_of(scores: Tensor) -> Tensor:
            log_rates = log_expected_counts(scores, counts, document, cells)
            return zero_truncated_poisson(log_rates, counts, rectified=s.rectified)

        equal = Sum.of(loss_of(torch.zeros_like(counts)))
        return Score({"loss": Sum.of(loss_of(logits))}, metrics={"equal_shares": equal})
