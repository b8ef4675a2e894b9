"""``biolm spatial predict``: expression from genes, image or both."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.spatial_arguments import OBSM_KEY, ModelArguments
from biolm.common_options import OutputH5ad, picture_option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ModelArguments):
    """Options of ``biolm spatial predict``."""

    output: OutputH5ad
    picture: Annotated[Path | None, picture_option("PNG with the best genes on the map.")] = None
    key: Annotated[str, OBSM_KEY] = "predicted_expression"


def run(chosen: Arguments) -> None:
    """Predict the model's target genes; their own counts have no part in it.

    Writes a copy of the section with obsm["predicted_expression"], and prints r where the genes were
    measured.
    """
    from biolm.tasks.spatial.predict import predict

    predicted = predict(
        chosen.input,
        chosen.model,
        chosen.output,
        mode=chosen.mode,
        picture=chosen.picture,
        device=chosen.device,
        key=chosen.key,
        overwrite=chosen.overwrite,
    )
    if predicted.correlation is not None:
        typer.echo(f"mean Pearson r of {len(predicted.genes)} genes: {predicted.correlation.mean():.3f}")
    log.info("wrote %s", chosen.output)
