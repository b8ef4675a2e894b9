"""``biolm spatial domains``: regions of like expression, over many seeds, beside trivial controls."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm spatial domains``."""

    input: Annotated[Path, typer.Argument(help="h5ad with counts and obsm['spatial'].")]
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="h5ad file to write.", show_default="none")
    ] = None
    k: Annotated[int | None, typer.Option(help="Domains.", show_default="by silhouette")] = None
    method: Annotated[str, typer.Option(help="kmeans or mixture.")] = "kmeans"
    smooth: Annotated[int, typer.Option(min=0, help="Neighbours averaged with a spot; 0 for none.")] = 7
    components: Annotated[int, typer.Option(min=1, help="Principal components.")] = 20
    vectors: Annotated[
        str | None, typer.Option(help="Key of obsm instead, as X_fused.", show_default="PCA")
    ] = None
    label: Annotated[
        str | None, typer.Option(help="Column of known regions, to compare with.", show_default="none")
    ] = None
    seeds: Annotated[int, typer.Option(min=1, help="Runs.")] = 10
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0
    picture: Annotated[Path | None, typer.Option(help="PNG of the map.", show_default="none")] = None
    key: Annotated[str, typer.Option(help="Name of the column in obs.")] = "spatial_domain"
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False


def run(chosen: Arguments) -> None:
    """Cluster the spots of a section; labels, where given, are only compared with.

    Writes a copy of the section with obs["spatial_domain"].
    """
    from biolm.tasks.spatial.domains import DomainSettings, domains, domains_text

    names = ("k", "method", "smooth", "components", "seeds", "seed")
    found = domains(
        chosen.input,
        chosen.output,
        settings=DomainSettings(**{name: getattr(chosen, name) for name in names}),
        label=chosen.label,
        vectors=chosen.vectors,
        picture=chosen.picture,
        key=chosen.key,
        overwrite=chosen.overwrite,
    )
    typer.echo(domains_text(found))
