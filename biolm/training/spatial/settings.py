"""Choices of the training of a gene-image model; free of torch, so that the command line shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from biolm.options import Option, check_options

__all__ = ["Contrast", "Epochs", "FitSettings", "LearningRate"]

Epochs = Annotated[int, Option(help="Most epochs.", min=0)]
LearningRate = Annotated[float, Option(help="Learning rate of AdamW.", above=0)]
Contrast = Annotated[float, Option(help="Weight of the contrastive loss; 0 for none.", min=0)]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a model is trained.

    Parameters
    ----------
    epochs
        Most epochs.
    patience
        Epochs without a better inner score after which training stops.
    batch
        Spots of a step.
    lr, weight_decay
        Of AdamW.
    drop_image, drop_genes
        Fraction of the spots that come without one side.
    contrast
        Weight of the contrastive loss, 0 for none.
    raw
        Weight of the plain log counts beside the normalised ones.
    niche
        Weight of the prediction of the neighbours' composition.
    ridge_start
        Start the linear read-outs at their ridge solution.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    epochs: Epochs = 20
    patience: Annotated[int, Option(help="Epochs without a better score.", min=1)] = 4
    batch: Annotated[int, Option(help="Spots of a step.", min=1)] = 64
    lr: LearningRate = 2e-3
    weight_decay: float = 0.05
    drop_image: Annotated[float, Option(help="Fraction of the spots without image.", min=0, max=1)] = 0.3
    drop_genes: Annotated[float, Option(help="Fraction of the spots without genes.", min=0, max=1)] = 0.3
    contrast: Contrast = 0.1
    raw: Annotated[float, Option(help="Weight of the log counts.", min=0)] = 0.25
    niche: Annotated[float, Option(help="Weight of the neighbours' composition.", min=0)] = 0.0
    ridge_start: bool = True

    def __post_init__(self) -> None:
        check_options(self)
