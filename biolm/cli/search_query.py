"""``biolm search query``: cells of a file to their neighbours in an index."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Reading
from biolm.jobs.settings import EmbedSettings
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading):
    """Options of ``biolm search query``."""

    index: Annotated[Path, typer.Option("--index", "-i", help="Folder of the index.")]
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .parquet, .tsv, .csv, .h5ad or .zarr.")
    ]
    neighbours: Annotated[int, typer.Option("--neighbours", "-k", min=1, help="Neighbours of a cell.")] = 10
    inside: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the reference's own cells that is inside.")
    ] = 0.99
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model.", show_default="told by the index")
    ] = None
    result: Annotated[str, typer.Option("--key", help="Begins the names of added columns.")] = "search"
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens packed into one batch.")] = 16_384
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"


def run(chosen: Arguments) -> None:
    """Find the most similar reference cells.

    Writes neighbours, transferred labels and which cells are out of reference.
    """
    from biolm.tasks.search.query import query

    found = query(
        chosen.input,
        chosen.index,
        k=chosen.neighbours,
        model=chosen.model,
        inside=chosen.inside,
        output=chosen.output,
        key=chosen.result,
        **chosen.among(EmbedSettings),
    )
    outside = int(found.outside.sum())
    log.info("wrote %s: %s cells, %s out of reference", chosen.output, f"{len(found.rows):,}", f"{outside:,}")
