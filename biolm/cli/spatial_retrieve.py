"""``biolm spatial retrieve``: recall of images by genes and of genes by images, beside chance."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.cli.spatial_arguments import TrainedModel
from biolm.common_options import Json, Overwrite, input_argument, picture_option
from biolm.tasks.spatial.settings import SectionDevice


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm spatial retrieve``."""

    input: Annotated[list[Path], input_argument("Prepared sections.")]
    model: TrainedModel
    picture: Annotated[Path | None, picture_option("PNG with recall at 1 to 50.")] = None
    json: Json = False
    device: SectionDevice = "cpu"
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Rank images for genes and genes for images, within and across sections.

    Prints recall at 1, 5 and 10 with intervals, chance and median rank.
    """
    from biolm.tasks.spatial.retrieve import retrieval_text, retrieve

    ranks = retrieve(
        chosen.input, chosen.model, picture=chosen.picture, device=chosen.device, overwrite=chosen.overwrite
    )
    typer.echo(json.dumps(ranks, indent=1) if chosen.json else retrieval_text(ranks))
