"""Whole-cell decoding: every gene's value, zeros too, from the cell's vector (WCED of bmfm-targets).

Dimensions: ``b`` cells · ``t`` tokens read · ``w`` tokens of the whole cells · ``v`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from biolm.batch import Batch, Output
from biolm.core import Transformer
from biolm.errors import InputError
from biolm.objectives.base import Metadata, Objective, Prepared, Score, Settings, View
from biolm.objectives.baseline import Baseline, GeneMeans
from biolm.objectives.contrast import projector
from biolm.objectives.draws import Draw, uniform
from biolm.objectives.masking import documents, is_special, lowest
from biolm.objectives.repack import take_tokens
from biolm.objectives.value_losses import check_loss, count_values, score_values
from biolm.settings import check_fraction, check_least

__all__ = ["Part", "WholeCell", "WholeCellSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeCellSettings(Settings):
    """Settings of :class:`WholeCell`.

    Parameters
    ----------
    read_share
        Fraction of a cell's gene tokens that the core reads, drawn at random.
    max_tokens
        Most tokens it reads, special ones included; 0 for no bound.
    zeros_share
        Fraction of the genes without a token that are scored, as zeros.
    hidden
        Hidden layers of the decoder.
    pool
        How a cell's vector is made of its tokens.
    loss
        ``mse``, ``mae`` or ``huber``.
    zero_probability, zero_weight, nonzero_only
        As in :class:`~biolm.objectives.masked_values.MaskedValuesSettings`.
    """

    read_share: float = 1.0
    max_tokens: int = 0
    zeros_share: float = 1.0
    hidden: int = 1
    pool: str = "cls"
    loss: str = "mse"
    zero_probability: bool = False
    zero_weight: float = 1.0
    nonzero_only: bool = False

    def __post_init__(self) -> None:
        check_fraction("read_share", self.read_share)
        check_fraction("zeros_share", self.zeros_share)
        check_loss(self.loss)
        check_least(0, max_tokens=self.max_tokens, hidden=self.hidden, zero_weight=self.zero_weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(View):
    """Read some of each cell's tokens, and keep the whole cell aside."""

    read_share: float
    max_tokens: int
    special_ids: tuple[int, ...]
    stacks: ClassVar[bool] = True

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Random genes; special tokens always stay."""
        if batch.values is None:
            raise InputError("whole_cell needs tokens with values; use an adapter of bins or expression")
        document = documents(batch)
        whole = {"whole_ids": batch.ids, "whole_values": batch.values, "whole_cells": document}
        special = is_special(batch.ids, self.special_ids)
        # Special tokens come before every draw, so the lowest numbers always hold them.
        number = uniform(draw.seeds("keep")[document], batch.positions).masked_fill(special, -1.0)
        read = batch
        if self.read_share < 1:
            genes = torch.zeros_like(draw.keys).index_add(0, document, (~special).long())
            # Halves are rounded up, so that a cell of one gene is not read empty.
            wanted = batch.lengths.long() - genes + (self.read_share * genes + 0.5).floor().long()
            kept = lowest(batch, number, wanted)
            read, number = take_tokens(batch, kept), number[kept]
        if 0 < self.max_tokens < read.max_length:
            read = take_tokens(read, lowest(read, number, torch.full_like(draw.keys, self.max_tokens)))
        return Prepared(batch=read, original=read, keys=draw.keys, extra=whole)


class WholeCell(Objective):
    """Loss of the values of all genes; those without a token in the whole cell are zero.

    Genes that were not measured look like zeros here: train on cells of one gene set, or set ``zeros_share``
    to 0. So would expressed genes that the tokeniser has cut off: its ``max_length`` must hold whole cells
    (``max_tokens`` bounds what the core reads of them).
    """

    Settings = WholeCellSettings

    def __init__(self, metadata: Metadata, settings: WholeCellSettings) -> None:
        super().__init__(metadata, settings)
        width, genes = metadata.core.d_model, metadata.core.vocab_size
        self.decoder = projector(width, genes, settings.hidden)
        self.zeros: nn.Module | None = (
            projector(width, genes, settings.hidden) if settings.zero_probability else None
        )

    @property
    def view(self) -> View:
        """Part of each cell."""
        s: WholeCellSettings = self.settings
        return Part(
            read_share=s.read_share,
            max_tokens=s.max_tokens,
            special_ids=self.metadata.special_ids,
        )

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Genes that are scored."""
        s: WholeCellSettings = self.settings
        wanted, scored = self._targets(prepared)
        return count_values(wanted[scored], nonzero_only=s.nonzero_only, zero=s.zero_probability)

    def baseline(self) -> Baseline:
        """Mean value of each gene, zeros among them."""
        s: WholeCellSettings = self.settings
        return GeneMeans(self.metadata.core.vocab_size, s.loss, self._asked, nonzero_only=s.nonzero_only)

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss over cells and genes."""
        s: WholeCellSettings = self.settings
        cells = self.vectors(output, prepared, s.pool)
        wanted, scored = self._targets(prepared)
        predicted = self.decoder(cells)[scored]
        logit = None if self.zeros is None else self.zeros(cells)[scored]
        return score_values(
            predicted,
            wanted[scored],
            logit,
            kind=s.loss,
            zero_weight=s.zero_weight,
            nonzero_only=s.nonzero_only,
        )

    def _asked(self, prepared: Prepared) -> tuple[Tensor, Tensor]:
        """Genes and values ``(m,)`` that are scored."""
        wanted, scored = self._targets(prepared)
        return scored.nonzero()[:, 1], wanted[scored]

    def _targets(self, prepared: Prepared) -> tuple[Tensor, Tensor]:
        """Values ``(b, v)`` and which are scored."""
        ids, values = prepared.extra["whole_ids"], prepared.extra["whole_values"].float()
        cell = prepared.extra["whole_cells"]
        wanted = values.new_zeros((len(prepared.batch), self.metadata.core.vocab_size))
        wanted[cell, ids] = values
        scored = torch.zeros_like(wanted, dtype=torch.bool)
        if self.settings.zeros_share > 0:
            gene = torch.arange(wanted.shape[1], device=ids.device)
            scored = uniform(prepared.document_seeds[:, None], gene) < self.settings.zeros_share
        # Genes with a token are scored in any case, zeros by the draw.
        scored[cell, ids] = True
        special = [token for token in self.metadata.special_ids if token < wanted.shape[1]]
        scored[:, special] = False
        return wanted, scored
