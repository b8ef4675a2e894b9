"""``biolm spatial prepare``: a tissue section of any layout becomes one h5ad with image features."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.spatial_arguments import SectionArguments
from biolm.options import Option

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(SectionArguments):
    """Options of ``biolm spatial prepare``."""

    output: Annotated[Path, Option(help="h5ad file to write.", flags=("--output", "-o"), panel="Output")]
    encoder: Annotated[
        str, Option(help="colour, convolutions, or the folder of a ViT or DINOv2.", panel="Model")
    ] = "colour"
    stain: Annotated[bool, Option(help="Normalise the stains, fitted on this section.")] = False
    symmetric: Annotated[bool, Option(help="Average features over flips and turns of a patch.")] = False
    patient: Annotated[
        str | None, Option(help="Whose tissue it is, for splits.", shown="inferred from obs")
    ] = None
    species: Annotated[str | None, Option(help="human or mouse.", shown="inferred from ids")] = None
    assay: Annotated[str | None, Option(help="visium, xenium ...", shown="inferred from the layout")] = None
    cache: Annotated[bool, Option(help="Keep image features for the next time.")] = True
    device: Annotated[str, Option(help="Where an image encoder runs: cpu, cuda ...", panel="Run")] = "cpu"
    allow_normalised: Annotated[bool, Option(help="Take values that are not counts.")] = False
    overwrite: Annotated[bool, Option(help="Replace an existing output.", panel="Output")] = False


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
        symmetric=chosen.symmetric,
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
