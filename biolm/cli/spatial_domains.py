"""``biolm spatial domains``: regions of like expression, over many seeds, beside trivial controls."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common, part
from biolm.common_options import H5AD, Overwrite, input_argument, picture_option
from biolm.options import Option
from biolm.tasks.spatial.settings import DomainSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(DomainSettings, Common):
    """Options of ``biolm spatial domains``."""

    input: Annotated[Path, input_argument("h5ad with counts and obsm['spatial'].")]
    output: Annotated[Path | None, replace(H5AD, shown="none")] = None
    vectors: Annotated[str | None, Option(help="Key of obsm instead, as X_fused.", shown="PCA")] = None
    label: Annotated[str | None, Option(help="Column of known regions, to compare with.", shown="none")] = (
        None
    )
    picture: Annotated[Path | None, picture_option("PNG of the map.")] = None
    key: Annotated[str, Option(help="Name of the column in obs.", panel="Output")] = "spatial_domain"
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Cluster the spots of a section; labels, where given, are only compared with.

    Writes a copy of the section with obs["spatial_domain"].
    """
    from biolm.tasks.spatial.domains import domains, domains_text
    from biolm.tasks.spatial.settings import DomainSettings

    result = domains(
        chosen.input,
        chosen.output,
        settings=part(chosen, DomainSettings),
        label=chosen.label,
        vectors=chosen.vectors,
        picture=chosen.picture,
        key=chosen.key,
        overwrite=chosen.overwrite,
    )
    typer.echo(domains_text(result))
