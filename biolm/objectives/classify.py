"""Classes and numbers of whole examples, from their vector; or of single tokens, from their own.

Dimensions: ``b`` examples · ``t`` tokens · ``d`` width · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Output
from biolm.core import Transformer
from biolm.core.heads import ClassifierHead
from biolm.errors import ConfigError
from biolm.objectives.base import LabelKind, Metadata, Objective, Plain, Prepared, Score, Settings, Sum, View
from biolm.objectives.baseline import Baseline, LabelFrequencies, LabelMean
from biolm.objectives.value_losses import check_loss, value_loss
from biolm.settings import check_fraction, check_least

__all__ = [
    "IGNORED",
    "Classify",
    "ClassifySettings",
    "Regress",
    "RegressSettings",
    "count_classes",
    "score_classes",
]

IGNORED = -100
"""Label of an example that is not scored."""

_LEVELS = ("example", "token")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifySettings(Settings):
    """Settings of :class:`Classify`.

    Parameters
    ----------
    column
        Label column.
    level
        ``example``: one label for each; ``token``: one for each token (genes of a cell, residues).
    pool
        How an example's vector is made of its tokens.
    hidden
        Hidden steps of the head (linear, ReLU, norm).
    class_weights
        Weight of each class; empty for none. The loss is then the weighted mean, as torch's. ``balanced``
        weighs each by ``n / (c * its own count)`` over the training labels, so that rare ones count as much.
    label_smoothing
        Fraction of the target's mass spread over the classes.
    """

    column: str = "cell_type"
    level: str = "example"
    pool: str = "cls"
    hidden: int = 0
    class_weights: tuple[float, ...] | str = ()
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_level(self.level)
        check_fraction("label_smoothing", self.label_smoothing)
        check_least(0, hidden=self.hidden)
        if self.class_weights == "balanced":
            return
        if isinstance(self.class_weights, str) or not _positive_numbers(self.class_weights):
            raise ConfigError(
                f"class_weights must be balanced or a list of numbers above 0, not {self.class_weights!r}"
            )
        object.__setattr__(self, "class_weights", tuple(self.class_weights))


class _Labelled(Objective):
    """What classes and numbers share: vectors of the labelled things, and their labels."""

    @property
    def view(self) -> View | None:
        """Labelled tokens must all be there and in their places; examples take any input."""
        return Plain() if self.settings.level == "token" else None

    def states(self, output: Output, prepared: Prepared) -> Tensor:
        """``(b, d)`` vectors of the examples, or ``(t, d)`` of the tokens."""
        if self.settings.level == "token":
            return output.last_hidden_state
        return self.vectors(output, prepared, self.settings.pool)

    def wanted(self, prepared: Prepared) -> Tensor:
        """Labels, one for each vector."""
        s = self.settings
        return prepared.label(s.column) if s.level == "token" else prepared.example_label(s.column)


class Classify(_Labelled):
    """Cross-entropy of a label column; examples (or tokens) labelled -100 are left out."""

    Settings = ClassifySettings

    def __init__(self, metadata: Metadata, settings: ClassifySettings) -> None:
        super().__init__(metadata, settings)
        classes = classes_of(metadata, settings.column)
        weights = settings.class_weights
        if weights == "balanced":
            counts = torch.tensor(metadata.counts.get(settings.column, (1,) * classes))
            # A class without a training label weighs as if it had one.
            weights = tuple((counts.sum() / (classes * counts.clamp(min=1))).tolist())
        if weights and len(weights) != classes:
            raise ConfigError(
                f"class_weights has {len(weights)} numbers for the {classes} classes of "
                f"{settings.column}; give one for each"
            )
        self.head = ClassifierHead(metadata.core.d_model, classes, settings.hidden)
        self.register_buffer("class_weights", torch.tensor(weights) if weights else None, persistent=False)

    @classmethod
    def label_kinds(cls, settings: ClassifySettings) -> dict[str, LabelKind]:
        """The label's."""
        return {settings.column: "classes"}

    def baseline(self) -> Baseline:
        """The best guess that is the same for all: frequencies of the classes, as the loss weighs them."""
        s: ClassifySettings = self.settings
        weights = self.class_weights
        assert weights is None or isinstance(weights, Tensor)
        return LabelFrequencies(self.metadata.classes[s.column], self.wanted, weights, s.label_smoothing)

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Known labels, by the weight of their classes."""
        return {"loss": count_classes(self.wanted(prepared), self.class_weights)}

    def predictions(self, output: Output, prepared: Prepared) -> dict[str, Tensor]:
        """Logits ``(b, c)``, or ``(t, c)`` of tokens."""
        return {self.settings.column: self.head(self.states(output, prepared))}

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss and accuracy."""
        s: ClassifySettings = self.settings
        labels = self.wanted(prepared)
        known = labels != IGNORED
        weights = self.class_weights
        assert weights is None or isinstance(weights, Tensor)
        # Of the many tokens of a cell few may be labelled.
        logits = self.head(self.states(output, prepared)[known])
        return score_classes(logits, labels[known], weights, s.label_smoothing)


def classes_of(metadata: Metadata, column: str) -> int:
    """Number of classes of a label column.

    Raises
    ------
    ConfigError
        If the data give none.
    """
    if column not in metadata.classes:
        raise ConfigError(f"there are no classes for the label column {column!r}")
    return metadata.classes[column]


def count_classes(labels: Tensor, class_weights: Any = None) -> float:
    """What :func:`score_classes` counts.

    Parameters
    ----------
    labels
        ``(b,)``, -100 for none.
    class_weights
        ``(c,)``; all alike if None.
    """
    known = labels[labels != IGNORED]
    return float(len(known)) if class_weights is None else float(class_weights.to(known.device)[known].sum())


def score_classes(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Score:
    """Cross-entropy and accuracy of logits ``(b, c)``; labels ``(b,)`` of -100 are left out.

    Smoothed labels are those of Szegedy et al. (2016).

    With class weights the count is the weight of the true classes, so that total over count is torch's
    weighted mean.

    Parameters
    ----------
    logits
        ``(b, c)``.
    labels
        ``(b,)``, -100 for none.
    class_weights
        ``(c,)``; all alike if None.
    label_smoothing
        Fraction of the target's mass spread over the classes.
    """
    known = labels != IGNORED
    logits, labels = logits[known].float(), labels[known]
    losses = F.cross_entropy(
        logits, labels, weight=class_weights, reduction="none", label_smoothing=label_smoothing
    )
    loss = Sum.of(losses)
    # cross_entropy has multiplied by the weights; the mean divides by their sum, as torch's own does.
    if class_weights is not None:
        loss = Sum(loss.total, class_weights[labels].sum())
    correct = (logits.detach().argmax(-1) == labels).float()
    return Score({"loss": loss}, metrics={"accuracy": Sum.of(correct)})


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressSettings(Settings):
    """Settings of :class:`Regress`.

    Parameters
    ----------
    column
        Label column of numbers; NaN is left out.
    level
        ``example``: one number for each; ``token``: one for each token.
    pool
        How an example's vector is made of its tokens.
    hidden
        Hidden steps of the head (linear, ReLU, norm).
    loss
        ``mse``, ``mae`` or ``huber``.
    standardise
        Learn the numbers less their mean, over their standard deviation, both of the training labels: the
        loss is then in these units, predictions and the reported error in those of the column.
    """

    column: str = "value"
    level: str = "example"
    pool: str = "cls"
    hidden: int = 0
    loss: str = "mse"
    standardise: bool = True

    def __post_init__(self) -> None:
        check_loss(self.loss)
        check_least(0, hidden=self.hidden)
        _check_level(self.level)


class Regress(_Labelled):
    """Loss of a column of numbers."""

    Settings = RegressSettings

    def __init__(self, metadata: Metadata, settings: RegressSettings) -> None:
        super().__init__(metadata, settings)
        self.head = ClassifierHead(metadata.core.d_model, 1, settings.hidden)
        moments = metadata.moments.get(settings.column, (0.0, 1.0)) if settings.standardise else (0.0, 1.0)
        # A constant column has a standard deviation of 0.
        self.shift, self.scale = moments[0], moments[1] or 1.0

    @classmethod
    def label_kinds(cls, settings: RegressSettings) -> dict[str, LabelKind]:
        """The number's."""
        return {settings.column: "numbers"}

    def baseline(self) -> Baseline:
        """Mean of the training labels."""
        s: RegressSettings = self.settings
        return LabelMean(self.wanted, s.loss, scale=self.scale)

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Known numbers."""
        return {"loss": float((~self.wanted(prepared).isnan()).sum())}

    def predictions(self, output: Output, prepared: Prepared) -> dict[str, Tensor]:
        """Numbers ``(b,)``, or ``(t,)`` of tokens, in the column's own units."""
        predicted = self.head(self.states(output, prepared)).squeeze(-1).float()
        return {self.settings.column: predicted * self.scale + self.shift}

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss, and absolute error."""
        s: RegressSettings = self.settings
        wanted = self.wanted(prepared).float()
        known = ~wanted.isnan()
        predicted = self.head(self.states(output, prepared)[known]).squeeze(-1).float()
        target = (wanted[known] - self.shift) / self.scale
        error = (predicted.detach() - target).abs() * self.scale
        return Score({"loss": Sum.of(value_loss(predicted, target, s.loss))}, metrics={"mae": Sum.of(error)})


def _check_level(level: str) -> None:
    if level not in _LEVELS:
        raise ConfigError(f"level must be example or token, not {level!r}")


def _positive_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) and value > 0 for value in values)
