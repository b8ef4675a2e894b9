"""``biolm spatial deconvolve``: what spots are mixed of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.options import Option

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm spatial deconvolve``."""

    input: Annotated[
        Path, Option(help="h5ad with raw counts and obsm['spatial'].", argument=True, panel="Input")
    ]
    output: Annotated[
        Path | None,
        Option(help="h5ad file to write.", flags=("--output", "-o"), shown="none", panel="Output"),
    ] = None
    reference: Annotated[Path | None, Option(help="Cells with types, for NNLS.", shown="none: LDA")] = None
    label: Annotated[str | None, Option(help="Column of the reference with its types.", shown="none")] = None
    topics: Annotated[
        list[int] | None,
        Option(help="Number of topics to try; may be repeated.", shown="2..8"),
    ] = None
    genes: Annotated[int, Option(help="Most variable genes that are read.", min=1)] = 1000
    iterations: Annotated[int, Option(help="Most passes of LDA.", min=1)] = 200
    seed: Annotated[int, Option(help="Seed of LDA.", min=0, panel="Run")] = 0
    picture: Annotated[Path | None, Option(help="PNG of the fractions.", shown="none", panel="Output")] = None
    key: Annotated[str, Option(help="Name of the result in obsm.", panel="Output")] = "deconvolved"
    overwrite: Annotated[bool, Option(help="Replace existing outputs.", panel="Output")] = False


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
