"""``biolm spatial prepare``: a tissue section of any layout becomes one h5ad with image features."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from biolm.cli.arguments import part
from biolm.cli.spatial_arguments import SectionArguments
from biolm.common_options import OutputH5ad
from biolm.options import Option
from biolm.tasks.spatial.settings import PrepareSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(PrepareSettings, SectionArguments):
    """Options of ``biolm spatial prepare``."""

    output: OutputH5ad
    keep_features: Annotated[
        bool, Option(help="Keep image features for the next time.", flags=("--cache/--no-cache",))
    ] = True


def run(chosen: Arguments) -> None:
    """Read a section, check it against its image and encode its patches.

    Writes an h5ad with counts, obsm["spatial"] and obsm["X_image"].
    """
    from biolm.tasks.spatial.features import cache_folder
    from biolm.tasks.spatial.prepare import prepare

    settings = part(
        chosen,
        PrepareSettings,
        section=chosen.section_options(),
        align=chosen.align_settings(),
        patches=chosen.patch_settings(),
        cache=cache_folder() if chosen.keep_features else None,
    )
    prepare(chosen.input, chosen.output, image=chosen.image, settings=settings)
