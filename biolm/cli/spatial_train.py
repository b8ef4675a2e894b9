"""``biolm spatial train``: genes and image that look at each other, scored with every control."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.options import Option

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm spatial train``."""

    input: Annotated[
        list[Path], Option(help="Sections that biolm spatial prepare wrote.", argument=True, panel="Input")
    ]
    output: Annotated[Path, Option(help="Folder to write.", flags=("--output", "-o"), panel="Output")]
    split: Annotated[
        str,
        Option(help="auto (patient, else section, else blocks), patient, section, blocks or random."),
    ] = "auto"
    force_random_split: Annotated[bool, Option(help="Split spots at random all the same.")] = False
    targets: Annotated[int, Option(help="Genes to predict.", min=1)] = 50
    tokens: Annotated[int, Option(help="Other genes that have a token.", min=1)] = 64
    components: Annotated[int, Option(help="Principal components of the other genes.", min=1)] = 30
    neighbours: Annotated[int, Option(help="Neighbours that a spot looks at.", min=1)] = 6
    gene_tokens: Annotated[str, Option(help="continuous, bins or rank.")] = "continuous"
    width: Annotated[int, Option(help="Width of the fusion.", min=4)] = 48
    layers: Annotated[int, Option(help="Layers of the fusion.", min=1)] = 2
    niche: Annotated[
        str | None, Option(help="Column with kinds of spots, whose surroundings are predicted.", shown="none")
    ] = None
    niche_um: Annotated[float, Option(help="Radius of the surroundings.", min=1)] = 250.0
    epochs: Annotated[int, Option(help="Most epochs.", min=0)] = 20
    lr: Annotated[float, Option(help="Learning rate.", min=0)] = 2e-3
    contrast: Annotated[float, Option(help="Weight of the contrastive loss; 0 for none.", min=0)] = 0.1
    seeds: Annotated[
        int, Option(help="Runs of every fold; 0 trains the final model without scores.", min=0, panel="Run")
    ] = 3
    seed: Annotated[int, Option(help="First seed.", min=0, panel="Run")] = 0
    device: Annotated[str, Option(help="cpu, cuda, cuda:1 ...", panel="Run")] = "cpu"
    overwrite: Annotated[bool, Option(help="Replace an existing output.", panel="Output")] = False


def run(chosen: Arguments) -> None:
    """Train on sections, hold each out in turn, and print all arms.

    Writes the model, report.json, scores.tsv and report.html.
    """
    from biolm.tasks.spatial.folds import ModelSettings
    from biolm.tasks.spatial.report import arm_text
    from biolm.tasks.spatial.train import TrainSettings, train
    from biolm.training.spatial.fit import FitSettings

    shape = ("targets", "tokens", "components", "neighbours", "gene_tokens", "width", "layers")
    niche = ("niche", "niche_um")
    settings = TrainSettings(
        model=ModelSettings(**{name: getattr(chosen, name) for name in (*shape, *niche)}),
        fit=FitSettings(
            epochs=chosen.epochs,
            lr=chosen.lr,
            contrast=chosen.contrast,
            niche=0.1 if chosen.niche else 0.0,
        ),
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
