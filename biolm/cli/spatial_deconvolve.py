"""``biolm spatial deconvolve``: what spots are mixed of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm spatial deconvolve``."""

    input: Annotated[Path, typer.Argument(help="h5ad with raw counts and obsm['spatial'].")]
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="h5ad file to write.", show_default="none")
    ] = None
    reference: Annotated[
        Path | None, typer.Option(help="Cells with types, for NNLS.", show_default="none: LDA")
    ] = None
    label: Annotated[
        str | None, typer.Option(help="Column of the reference with its types.", show_default="none")
    ] = None
    topics: Annotated[
        list[int] | None,
        typer.Option(help="Number of topics to try; may be repeated.", show_default="2..8"),
    ] = None
    genes: Annotated[int, typer.Option(min=1, help="Most variable genes that are read.")] = 1000
    iterations: Annotated[int, typer.Option(min=1, help="Most passes of LDA.")] = 200
    seed: Annotated[int, typer.Option(min=0, help="Seed of LDA.")] = 0
    picture: Annotated[Path | None, typer.Option(help="PNG of the fractions.", show_default="none")] = None
    key: Annotated[str, typer.Option(help="Name of the result in obsm.")] = "deconvolved"
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False


def run(chosen: Arguments) -> None:
    """Fit spots by a reference of cell types, or by topics where there is none.

    Writes a copy of the section with obsm["deconvolved"].
    """
    from biolm.tasks.spatial.deconvolve import DeconvolveSettings, deconvolve, deconvolved_text

    topics = tuple(chosen.topics) if chosen.topics else DeconvolveSettings().topics
    found = deconvolve(
        chosen.input,
        chosen.output,
        reference=chosen.reference,
        settings=DeconvolveSettings(
            label=chosen.label,
            topics=topics,
            genes=chosen.genes,
            iterations=chosen.iterations,
            seed=chosen.seed,
        ),
        picture=chosen.picture,
        key=chosen.key,
        overwrite=chosen.overwrite,
    )
    typer.echo(deconvolved_text(found))
