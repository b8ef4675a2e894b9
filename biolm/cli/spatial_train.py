"""``biolm spatial train``: genes and image that look at each other, scored with every control."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm spatial train``."""

    input: Annotated[list[Path], typer.Argument(help="Sections that biolm spatial prepare wrote.")]
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
    split: Annotated[
        str,
        typer.Option(help="auto (patient, else section, else blocks), patient, section, blocks or random."),
    ] = "auto"
    force_random_split: Annotated[
        bool, typer.Option("--force-random-split", help="Split spots at random all the same.")
    ] = False
    targets: Annotated[int, typer.Option(min=1, help="Genes to predict.")] = 50
    tokens: Annotated[int, typer.Option(min=1, help="Other genes that have a token.")] = 64
    components: Annotated[int, typer.Option(min=1, help="Principal components of the other genes.")] = 30
    neighbours: Annotated[int, typer.Option(min=1, help="Neighbours that a spot looks at.")] = 6
    gene_tokens: Annotated[str, typer.Option(help="continuous, bins or rank.")] = "continuous"
    width: Annotated[int, typer.Option(min=4, help="Width of the fusion.")] = 48
    layers: Annotated[int, typer.Option(min=1, help="Layers of the fusion.")] = 2
    epochs: Annotated[int, typer.Option(min=0, help="Most epochs.")] = 20
    lr: Annotated[float, typer.Option(min=0, help="Learning rate.")] = 2e-3
    contrast: Annotated[float, typer.Option(min=0, help="Weight of the contrastive loss; 0 for none.")] = 0.1
    seeds: Annotated[
        int, typer.Option(min=0, help="Runs of every fold; 0 trains the final model without scores.")
    ] = 3
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu"
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False


def run(chosen: Arguments) -> None:
    """Train on sections, hold each out in turn, and print all arms.

    Writes the model, report.json, scores.tsv and report.html.
    """
    from biolm.tasks.spatial.folds import ModelSettings
    from biolm.tasks.spatial.report import arm_text
    from biolm.tasks.spatial.train import TrainSettings, train
    from biolm.training.spatial_fit import FitSettings

    shape = ("targets", "tokens", "components", "neighbours", "gene_tokens", "width", "layers")
    settings = TrainSettings(
        model=ModelSettings(**{name: getattr(chosen, name) for name in shape}),
        fit=FitSettings(epochs=chosen.epochs, lr=chosen.lr, contrast=chosen.contrast),
        split=chosen.split,
        force_random_split=chosen.force_random_split,
        seeds=chosen.seeds,
        seed=chosen.seed,
        device=chosen.device,
        overwrite=chosen.overwrite,
        progress=not chosen.quiet,
    )
    found = train(chosen.input, chosen.output, settings=settings)
    if found.scores is not None:
        typer.echo(arm_text(found.scores))
