"""``biolm search query``: cells of a file to their neighbours in an index."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.options import chosen_options
from biolm.progress import log
from biolm.tasks.search.query import QuerySettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(QuerySettings, Common):
    """Options of ``biolm search query``: those of the job, and what is read and written."""

    input: Annotated[Path, typer.Argument(help="h5ad, zarr, loom, 10x .h5 or mtx folder, csv or tsv.")]
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
        **chosen_options(chosen, QuerySettings),
    )
    outside = int(found.outside.sum())
    log.info("wrote %s: %s cells, %s out of reference", chosen.output, f"{len(found.rows):,}", f"{outside:,}")
