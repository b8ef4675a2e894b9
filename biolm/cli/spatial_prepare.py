"""``biolm spatial prepare``: a tissue section of any layout becomes one h5ad with image features."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.spatial_arguments import SectionArguments

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(SectionArguments):
    """Options of ``biolm spatial prepare``."""

    output: Annotated[Path, typer.Option("--output", "-o", help="h5ad file to write.")]
    encoder: Annotated[str, typer.Option(help="colour, convolutions, or the folder of a ViT or DINOv2.")] = (
        "colour"
    )
    stain: Annotated[bool, typer.Option("--stain", help="Normalise the stains, fitted on this section.")] = (
        False
    )
    patient: Annotated[
        str | None, typer.Option(help="Whose tissue it is, for splits.", show_default="told from obs")
    ] = None
    species: Annotated[str | None, typer.Option(help="human or mouse.", show_default="told from ids")] = None
    assay: Annotated[
        str | None, typer.Option(help="visium, xenium ...", show_default="told from the layout")
    ] = None
    cache: Annotated[bool, typer.Option(help="Keep image features for the next time.")] = True
    device: Annotated[str, typer.Option(help="Where an image encoder runs: cpu, cuda ...")] = "cpu"
    allow_normalised: Annotated[
        bool, typer.Option("--allow-normalised", help="Take values that are not counts.")
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False


def run(chosen: Arguments) -> None:
    """Read a section, check it against its image and encode its patches.

    Writes an h5ad with counts, obsm["spatial"] and obsm["X_image"].
    """
    from biolm.tasks.spatial.features import cache_folder
    from biolm.tasks.spatial.prepare import PrepareSettings, prepare

    settings = PrepareSettings(
        section=chosen.section_options(),
        align=chosen.align_settings(),
        patches=chosen.patch_settings(),
        encoder=chosen.encoder,
        stain=chosen.stain,
        patient=chosen.patient,
        species=chosen.species,
        assay=chosen.assay,
        cache=cache_folder() if chosen.cache else None,
        device=chosen.device,
        allow_normalised=chosen.allow_normalised,
        progress=not chosen.quiet,
        overwrite=chosen.overwrite,
    )
    prepare(chosen.input, chosen.output, image=chosen.image, settings=settings)
