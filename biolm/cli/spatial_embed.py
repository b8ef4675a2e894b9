"""``biolm spatial embed``: vectors of spots before and after fusion, and attention drawn over the tissue."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.spatial_arguments import ModelArguments
from biolm.common_options import OutputH5ad
from biolm.options import Option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ModelArguments):
    """Options of ``biolm spatial embed``."""

    output: OutputH5ad
    key: Annotated[str, Option(help="Name of the fused vectors in obsm.", panel="Output")] = "X_fused"
    attention: Annotated[Path | None, Option(help="Folder for attention both ways.", shown="none")] = None
    image: Annotated[
        Path | None,
        Option(help="Image to draw attention on, in full resolution.", needs=("attention",), shown="none"),
    ] = None
    spots: Annotated[
        list[str] | None,
        Option(help="Spot to draw; may be repeated.", shown="six all over the section", needs=("attention",)),
    ] = None


def run(chosen: Arguments) -> None:
    """Embed the spots of a section by a trained model.

    Writes a copy of the section with obsm["X_fused"] and the vectors of each side before fusion.
    """
    from biolm.tasks.spatial.attention import write_attention
    from biolm.tasks.spatial.embed import embed

    embed(
        chosen.input,
        chosen.model,
        chosen.output,
        mode=chosen.mode,
        device=chosen.device,
        key=chosen.key,
        overwrite=chosen.overwrite,
    )
    log.info("wrote %s", chosen.output)
    if chosen.attention is not None:
        # Last: the vectors are there even where the drawing of a huge image fails.
        write_attention(
            chosen.input,
            chosen.model,
            chosen.attention,
            image=chosen.image,
            spots=chosen.spots,
            overwrite=chosen.overwrite,
        )
        log.info("wrote %s", chosen.attention)
