"""Domain-adversarial head: it learns the domain, the reversed gradient makes the core forget it.

Dimensions: ``b`` examples · ``d`` width · ``c`` domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biolm.batch import Output
from biolm.core import Transformer
from biolm.objectives.base import LabelKind, Metadata, Objective, Prepared, Score, Settings
from biolm.objectives.baseline import Baseline, LabelFrequencies
from biolm.objectives.classify import classes_of, count_classes, score_classes
from biolm.settings import check_least

__all__ = ["Adversarial", "AdversarialSettings", "reverse_gradient"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialSettings(Settings):
    """Settings of :class:`Adversarial`.

    Parameters
    ----------
    column
        Label column of the domain (batch, study, donor).
    strength
        Factor of the reversed gradient.
    hidden
        Hidden steps of the discriminator.
    pool
        How an example's vector is made of its tokens.
    """

    column: str = "batch"
    strength: float = 1.0
    hidden: int = 2
    pool: str = "cls"

    def __post_init__(self) -> None:
        check_least(0, strength=self.strength, hidden=self.hidden)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # The head above learns to tell domains apart; what lies below is pushed the other way.
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """The same numbers; their gradient is multiplied by ``−strength`` (Ganin & Lempitsky 2015).

    Parameters
    ----------
    x
        Any tensor.
    strength
        Of the reversed gradient.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> reverse_gradient(x, 0.5).sum().backward()
    >>> x.grad.tolist()
    [-0.5, -0.5]
    """
    return _Reverse.apply(x, strength)  # type: ignore[no-any-return, no-untyped-call]


class _Discriminator(nn.Module):
    """Hidden steps of linear, leaky ReLU and norm, then a linear map (scGPT's)."""

    def __init__(self, width: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(nn.Linear(width, width) for _ in range(hidden))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(hidden))
        self.out = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, d)`` to ``(b, c)``."""
        for dense, norm in zip(self.dense, self.norms, strict=True):
            x = norm(F.leaky_relu(dense(x)))
        return self.out(x)  # type: ignore[no-any-return]


class Adversarial(Objective):
    """Cross-entropy of the domain from the example's vector, with the gradient reversed before the head.

    Gradient reversal is that of Ganin et al. (2016).
    """

    Settings = AdversarialSettings

    def __init__(self, metadata: Metadata, settings: AdversarialSettings) -> None:
        super().__init__(metadata, settings)
        classes = classes_of(metadata, settings.column)
        self.head = _Discriminator(metadata.core.d_model, classes, settings.hidden)

    @classmethod
    def label_kinds(cls, settings: AdversarialSettings) -> dict[str, LabelKind]:
        """The domain's."""
        return {settings.column: "classes"}

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Known domains."""
        return {"loss": count_classes(prepared.example_label(self.settings.column))}

    def baseline(self) -> Baseline:
        """Frequencies of the domains: what the discriminator should fall to."""
        s: AdversarialSettings = self.settings
        return LabelFrequencies(self.metadata.classes[s.column], lambda given: given.example_label(s.column))

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss and accuracy of the discriminator; the accuracy should fall towards that of guessing."""
        s: AdversarialSettings = self.settings
        vectors = self.vectors(output, prepared, s.pool)
        logits = self.head(reverse_gradient(vectors, s.strength))
        return score_classes(logits, prepared.example_label(s.column))
