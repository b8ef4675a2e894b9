"""``biolm spatial train``: genes and image that look at each other, scored with every control."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common, part
from biolm.common_options import OutputFolder, input_argument
from biolm.tasks.spatial.settings import ModelSettings, TrainSettings
from biolm.training.spatial.settings import Contrast, Epochs, FitSettings, LearningRate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TrainSettings, ModelSettings, Common):
    """Options of ``biolm spatial train``."""

    input: Annotated[list[Path], input_argument("Sections that biolm spatial prepare wrote.")]
    output: OutputFolder
    epochs: Epochs = FitSettings.epochs
    lr: LearningRate = FitSettings.lr
    contrast: Contrast = FitSettings.contrast


def run(chosen: Arguments) -> None:
    """Train on sections, hold each out in turn, and print all arms.

    Writes the model, report.json, scores.tsv and report.html.
    """
    from biolm.tasks.spatial.report import arm_text
    from biolm.tasks.spatial.train import train

    # A tenth of the weight where the surroundings are predicted at all: naming the column is the choice.
    fit = FitSettings(
        epochs=chosen.epochs, lr=chosen.lr, contrast=chosen.contrast, niche=0.1 if chosen.niche else 0.0
    )
    settings = part(chosen, TrainSettings, model=part(chosen, ModelSettings), fit=fit)
    trained = train(chosen.input, chosen.output, settings=settings)
    if trained.scores is not None:
        typer.echo(arm_text(trained.scores))
