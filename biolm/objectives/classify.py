"""Classes and numbers of whole examples, from their vector.

Dimensions: ``b`` examples · ``d`` width · ``c`` classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Output
from biolm.core import Transformer
from biolm.core.heads import ClassifierHead
from biolm.errors import ConfigError
from biolm.objectives.base import Facts, Objective, Prepared, Score, Settings, Sum
from biolm.objectives.baseline import Baseline, LabelFrequencies
from biolm.objectives.masking import check_share
from biolm.objectives.value_losses import check_loss, value_loss

__all__ = ["IGNORED", "Classify", "ClassifySettings", "Regress", "RegressSettings", "score_classes"]

IGNORED = -100
"""Label of an example that is not scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifySettings(Settings):
    """Settings of :class:`Classify`.

    Parameters
    ----------
    column
        Label column.
    pool
        How an example's vector is made of its tokens.
    hidden
        Hidden steps of the head (linear, ReLU, norm).
    class_weights
        Weight of each class; empty for none. The loss is then the weighted mean, as torch's.
    label_smoothing
        Share of the target's mass spread over the classes.
    """

    column: str = "cell_type"
    pool: str = "cls"
    hidden: int = 0
    class_weights: tuple[float, ...] = ()
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_weights", tuple(self.class_weights))
        check_share("label_smoothing", self.label_smoothing)


class Classify(Objective):
    """Cross-entropy of a label column; examples labelled -100 are left out."""

    Settings = ClassifySettings

    def __init__(self, facts: Facts, settings: ClassifySettings) -> None:
        super().__init__(facts, settings)
        classes = classes_of(facts, settings.column)
        if settings.class_weights and len(settings.class_weights) != classes:
            raise ConfigError(
                f"class_weights has {len(settings.class_weights)} numbers for the {classes} classes of "
                f"{settings.column}; give one for each"
            )
        self.head = ClassifierHead(facts.core.d_model, classes, settings.hidden)
        weights = torch.tensor(settings.class_weights) if settings.class_weights else None
        self.register_buffer("class_weights", weights, persistent=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The label's."""
        return (self.settings.column,)

    def baseline(self) -> Baseline:
        """Frequencies of the classes."""
        s: ClassifySettings = self.settings
        return LabelFrequencies(self.facts.classes[s.column], s.column)

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss and accuracy."""
        s: ClassifySettings = self.settings
        vectors = self.vectors(output, prepared, s.pool)
        weights = self.class_weights
        assert weights is None or isinstance(weights, Tensor)
        return score_classes(self.head(vectors), prepared.example_label(s.column), weights, s.label_smoothing)


def classes_of(facts: Facts, column: str) -> int:
    """Number of classes of a label column.

    Raises
    ------
    ConfigError
        If the data give none.
    """
    if column not in facts.classes:
        raise ConfigError(f"there are no classes for the label column {column!r}")
    return facts.classes[column]


def score_classes(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Score:
    """Cross-entropy and accuracy of logits ``(b, c)``; labels ``(b,)`` of -100 are left out.

    With class weights the count is the weight of the true classes, so that total over count is torch's
    weighted mean.
    """
    known = labels != IGNORED
    logits, labels = logits[known].float(), labels[known]
    losses = F.cross_entropy(
        logits, labels, weight=class_weights, reduction="none", label_smoothing=label_smoothing
    )
    loss = Sum.of(losses)
    if class_weights is not None:
        loss = Sum(loss.total, class_weights[labels].sum())
    found = (logits.detach().argmax(-1) == labels).float()
    return Score({"loss": loss}, metrics={"accuracy": Sum.of(found)})


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressSettings(Settings):
    """Settings of :class:`Regress`.

    Parameters
    ----------
    column
        Label column of numbers; NaN is left out.
    pool
        How an example's vector is made of its tokens.
    hidden
        Hidden steps of the head (linear, ReLU, norm).
    loss
        ``mse``, ``mae`` or ``huber``.
    """

    column: str = "value"
    pool: str = "cls"
    hidden: int = 0
    loss: str = "mse"

    def __post_init__(self) -> None:
        check_loss(self.loss)


class Regress(Objective):
    """Loss of a column of numbers."""

    Settings = RegressSettings

    def __init__(self, facts: Facts, settings: RegressSettings) -> None:
        super().__init__(facts, settings)
        self.head = ClassifierHead(facts.core.d_model, 1, settings.hidden)

    @property
    def columns(self) -> tuple[str, ...]:
        """The number's."""
        return (self.settings.column,)

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss, and absolute error."""
        s: RegressSettings = self.settings
        wanted = prepared.example_label(s.column).float()
        known = ~wanted.isnan()
        vectors = self.vectors(output, prepared, s.pool)
        found = self.head(vectors).squeeze(-1)[known].float()
        error = (found.detach() - wanted[known]).abs()
        return Score(
            {"loss": Sum.of(value_loss(found, wanted[known], s.loss))}, metrics={"mae": Sum.of(error)}
        )
