"""``biolm spatial check``: scale and orientation of an image against its spots, and pictures to look at."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.spatial_arguments import SectionArguments
from biolm.common_options import Json, Overwrite, output_option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(SectionArguments):
    """Options of ``biolm spatial check``."""

    output: Annotated[Path | None, output_option("Folder for pictures and check.json.", shown="none")] = None
    json: Json = False
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Compare the spots with the tissue in all eight orientations.

    Writes the overlay and a contact sheet of patches.
    """
    from biolm.tasks.spatial.check import check, check_text

    checked = check(
        chosen.input,
        chosen.output,
        image=chosen.image,
        section=chosen.section_options(),
        settings=chosen.align_settings(),
        patches=chosen.patch_settings(),
        overwrite=chosen.overwrite,
    )
    typer.echo(json.dumps(checked, indent=1, default=str) if chosen.json else check_text(checked))
    if chosen.output is not None:
        log.info("wrote %s; look at overlay.png and contact_sheet.png", chosen.output)
