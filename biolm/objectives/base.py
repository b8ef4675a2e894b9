"""What every objective is: a view of the batch, one forward pass, and sums of losses with their counts.

Dimensions: ``b`` examples of a batch · ``t`` tokens · ``m`` tokens that are predicted · ``d`` width.

The way of a batch: :meth:`Objective.prepare` (in a loader's worker, on the CPU) chooses and masks what is to
be predicted; :meth:`Objective.loss` (on the device) runs the core once and scores it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from biolm.batch import Batch, Output
from biolm.core import CoreConfig, Transformer, pool
from biolm.core.pooling import POOLS
from biolm.errors import ConfigError
from biolm.objectives.baseline import Baseline
from biolm.objectives.draws import Draw
from biolm.objectives.score import Score, Sum
from biolm.objectives.views import Chain, Plain, Prepared, View

__all__ = [
    "Chain",
    "Criterion",
    "LabelKind",
    "Metadata",
    "Objective",
    "Plain",
    "Prepared",
    "Score",
    "Settings",
    "Sum",
    "View",
]

LabelKind = Literal["classes", "numbers", "vectors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What an objective must know of the model and the data; none of it is a choice of the user.

    Parameters
    ----------
    core
        Config of the core.
    special_ids
        Token ids that are never masked, drawn or predicted (cls, eos, pad, mask).
    mask_id
        Token id of the mask, where the vocabulary has one.
    classes
        Number of classes of each label column; columns of numbers are not listed.
    counts
        Of each label column of classes, how many training labels each class has.
    moments
        Of each label column of numbers, mean and standard deviation of the training labels.
    """

    core: CoreConfig
    special_ids: tuple[int, ...] = ()
    mask_id: int | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    moments: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Views are compared to share a forward pass, so one set of tokens must be one tuple.
        object.__setattr__(self, "special_ids", tuple(sorted(self.special_ids)))

    @property
    def special_or_mask(self) -> tuple[int, ...]:
        """Special tokens and the mask."""
        mask = () if self.mask_id is None else (self.mask_id,)
        return tuple(sorted({*self.special_ids, *mask}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Base of the settings of objectives: frozen dataclasses whose fields are the keys of the YAML."""


class Criterion(nn.Module, ABC):
    """Training loss: one :class:`Objective`, or a weighted sum of several.

    Parameters
    ----------
    metadata
        Of the model and the data.
    settings
        An instance of :attr:`Settings`.

    Attributes
    ----------
    Settings
        Dataclass of the settings.
    uses_head
        Whether it reads the core's logits.
    reads_rows
        Whether it reads the states and logits of the predicted tokens alone, so that no others need be made.
    reads_counts
        Whether its targets must be counts, not bins or normalised values.
    keeps_dropout
        Whether nothing but dropout tells its views apart, so that validation needs it too.
    step
        Optimiser steps done so far; set by who trains, for objectives that change on the way.
    """

    Settings: ClassVar[type[Settings]] = Settings
    uses_head: bool = False
    reads_rows: bool = False
    reads_counts: bool = False
    keeps_dropout: bool = False

    def __init__(self, metadata: Metadata, settings: Any) -> None:
        super().__init__()
        how = getattr(settings, "pool", POOLS[0])
        if how not in POOLS:
            raise ConfigError(f"pool must be one of {', '.join(POOLS)}, not {how!r}")
        self.metadata = metadata
        self.settings = settings
        self.step = 0

    @classmethod
    def label_kinds(cls, settings: Any) -> dict[str, LabelKind]:  # noqa: ARG003  # most read none
        """Label columns that an objective of these settings reads, and of what kind each must be."""
        return {}

    @classmethod
    def logits_fraction(cls, settings: Any) -> float:  # noqa: ARG003  # most read none
        """Fraction of a batch's tokens whose logits an objective of these settings reads, about."""
        return 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Label columns it reads."""
        return tuple(self.label_kinds(self.settings))

    @property
    def reads_pairs(self) -> bool:
        """Whether its examples are pairs of texts, distinguished by their segments."""
        return False

    @property
    def narrowed(self) -> tuple[bool, ...]:
        """For each input, whether the core's last layer gives the states of the predicted tokens alone."""
        return (self.reads_rows,)

    def prepare(
        self,
        batch: Batch,
        keys: Tensor,
        epoch: int,
        seed: int,
        labels: Mapping[str, Tensor] | None = None,
        *,
        number: int | None = None,
    ) -> Prepared:
        """Choose what is to be predicted and mask it.

        Parameters
        ----------
        batch
            Packed tokens.
        keys
            ``(b,)`` int64 number of each example in the whole data set.
        epoch, seed
            Of the run.
        labels
            Columns ``(b,)`` of the examples, those in :attr:`columns` at least.
        number
            Of the batch in the run, the same on every rank; for what all examples of a batch share, such as
            gene panels. None takes the keys in its place.
        """
        return self.viewed(batch, Draw(keys, epoch, seed, number), dict(labels or {}))

    @abstractmethod
    def viewed(self, batch: Batch, draw: Draw, labels: dict[str, Tensor]) -> Prepared:
        """What :meth:`prepare` gives, by the draws of the batch.

        Parameters
        ----------
        batch
            Packed tokens.
        draw
            Random numbers of the examples.
        labels
            Columns ``(b,)`` of the examples.
        """

    @abstractmethod
    def run(self, core: Transformer, prepared: Prepared) -> Score:
        """Forward passes and their score.

        Parameters
        ----------
        core
            The model.
        prepared
            What :meth:`prepare` made of a batch, on the core's device.
        """

    def loss(self, core: Transformer, prepared: Prepared) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of one batch, and its terms and metrics.

        Parameters
        ----------
        core
            The model.
        prepared
            What :meth:`prepare` made of a batch, on the core's device.

        Returns
        -------
        The loss ``()``, and for each term and metric a ``(2,)`` tensor: total and count.
        """
        score = self.run(core, prepared)
        return score.loss(), score.report()

    def counts(self, prepared: Prepared) -> dict[str, float]:  # noqa: ARG002
        """Counts of those terms of the score that are known before the forward pass.

        Batches that are accumulated to one step, and ranks, are then weighted by them, so that they do what
        one large batch would. A term that is not listed weighs each accumulated batch the same.
        """
        return {}

    def predictions(self, output: Output, prepared: Prepared) -> dict[str, Tensor]:  # noqa: ARG002
        """What it says of each label column, without looking at the labels; most say nothing.

        Logits ``(b, c)`` of classes or numbers ``(b,)``; ``(t, c)`` and ``(t,)`` where tokens are labelled.

        Parameters
        ----------
        output
            Of a forward pass.
        prepared
            Its batch.
        """
        return {}

    def baseline(self) -> Baseline | None:
        """What guesses without a model, to stand beside the loss; None where the metrics hold it."""
        return None


class Objective(Criterion):
    """A loss of one forward pass, with the heads it needs beside the core's own.

    Subclasses give :meth:`score`, and mostly :attr:`view`.
    """

    @property
    def view(self) -> View | None:
        """The input it needs; None where any will do, so that it may ride on another's forward pass."""
        return None

    def viewed(self, batch: Batch, draw: Draw, labels: dict[str, Tensor]) -> Prepared:
        """One view of the batch."""
        prepared = replace((self.view or Plain())(batch, draw), labels=labels, seeds=draw.seeds("score"))
        self.check(prepared)
        return prepared

    def check(self, prepared: Prepared) -> None:
        """Refuse a batch whose content does not fit, where batches are made: a GPU need not be asked then."""

    def run(self, core: Transformer, prepared: Prepared) -> Score:
        """One forward pass and its score."""
        output = self.forward_pass(core, prepared, rows_alone=self.narrowed[0], dropout=self.keeps_dropout)
        return self.score(core, output, prepared)

    def forward_pass(
        self, core: Transformer, prepared: Prepared, *, rows_alone: bool = False, dropout: bool = False
    ) -> Output:
        """Run the core, its head on the predicted tokens only; its last layer too with ``rows_alone``.

        With ``dropout`` there is dropout in validation as well, the same each time.

        Parameters
        ----------
        core
            The model.
        prepared
            The batch.
        rows_alone
            Let the last layer give the states of the predicted tokens alone.
        dropout
            Keep dropout even in validation.
        """
        rows = prepared.rows
        with _dropout(core, prepared) if dropout and not self.training else nullcontext():
            # Without any row no gradient would reach the weights, for which other processes wait.
            if rows_alone and rows is not None and len(rows):
                return core(prepared.batch, only=rows, logits=self.uses_head)  # type: ignore[no-any-return]
            wanted = rows if self.uses_head and rows is not None else self.uses_head
            return core(prepared.batch, logits=wanted)  # type: ignore[no-any-return]

    def vectors(self, output: Output, prepared: Prepared, how: str) -> Tensor:
        """One vector ``(d,)`` for each document: ``cls``, ``last``, ``max``, ``mean`` or ``sum``.

        Mean and sum leave special tokens out, but not the mask: it stands for a token.

        Parameters
        ----------
        output
            Of a forward pass.
        prepared
            Its batch.
        how
            ``cls``, ``last``, ``max``, ``mean`` or ``sum``.
        """
        batch, weights = prepared.batch, None
        # A masked token still stands for a gene or residue of the example.
        special = [token for token in self.metadata.special_ids if token != self.metadata.mask_id]
        if how in ("mean", "sum") and special:
            listed = torch.tensor(special, dtype=batch.ids.dtype, device=batch.ids.device)
            weights = (~torch.isin(batch.ids, listed)).float()
        # Half precision cannot add up the tokens of a document: past 256 of them nothing changes a sum.
        return pool(output.last_hidden_state.float(), batch.offsets, how, weights=weights)

    @abstractmethod
    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:
        """Losses and metrics of a forward pass.

        Parameters
        ----------
        core
            The model.
        output
            Of its forward pass.
        prepared
            The batch.
        """


@contextmanager
def _dropout(core: Transformer, prepared: Prepared) -> Iterator[None]:
    """Dropout that depends on the examples alone."""
    assert prepared.seeds is not None
    device = prepared.batch.ids.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # By the examples: the same in every validation, whatever was drawn before.
        torch.manual_seed(int(prepared.seeds.sum()))
        core.train()
        try:
            yield
        finally:
            core.eval()
