"""``biolm spatial deconvolve``: what spots are mixed of."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common, part
from biolm.cli.spatial_arguments import OBSM_KEY
from biolm.common_options import H5AD, Overwrite, input_argument, picture_option
from biolm.options import Option
from biolm.tasks.spatial.settings import DeconvolveSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(DeconvolveSettings, Common):
    """Options of ``biolm spatial deconvolve``."""

    input: Annotated[Path, input_argument("h5ad with raw counts and obsm['spatial'].")]
    output: Annotated[Path | None, replace(H5AD, shown="none")] = None
    reference: Annotated[Path | None, Option(help="Cells with types, for NNLS.", shown="none: LDA")] = None
    picture: Annotated[Path | None, picture_option("PNG of the fractions.")] = None
    key: Annotated[str, OBSM_KEY] = "deconvolved"
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Fit spots by a reference of cell types, or by topics where there is none.

    Writes a copy of the section with obsm["deconvolved"].
    """
    from biolm.tasks.spatial.deconvolve import deconvolve, deconvolved_text

    proportions = deconvolve(
        chosen.input,
        chosen.output,
        reference=chosen.reference,
        settings=part(chosen, DeconvolveSettings),
        picture=chosen.picture,
        key=chosen.key,
        overwrite=chosen.overwrite,
    )
    typer.echo(deconvolved_text(proportions))
