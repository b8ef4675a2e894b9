"""``biolm search query``: cells of a file to their neighbours in an index."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import CELL_FILE, Common
from biolm.common_options import model_option, output_option
from biolm.options import Option, chosen_options
from biolm.progress import log
from biolm.tasks.search.query import QuerySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(QuerySettings, Common):
    """Options of ``biolm search query``: those of the job, and what is read and written."""

    input: Annotated[Path, CELL_FILE]
    index: Annotated[Path, Option(help="Folder of the index.", flags=("--index", "-i"))]
    output: Annotated[Path, output_option("File to write: .parquet, .tsv, .csv, .h5ad or .zarr.")]
    neighbours: Annotated[
        int, Option(help="Neighbours of a cell.", flags=("--neighbours", "-k"), min=1, python="k")
    ] = 10
    inside: Annotated[
        float, Option(help="Fraction of the reference's own cells that is inside.", min=0, max=1)
    ] = 0.99
    model: Annotated[str | None, model_option("The model.", shown="named by the index")] = None
    result: Annotated[
        str, Option(help="Begins the names of added columns.", flags=("--key",), panel="Output", python="key")
    ] = "search"


def run(chosen: Arguments) -> None:
    """Find the most similar reference cells.

    Writes neighbours, transferred labels and which cells are out of reference.
    """
    from biolm.tasks.search.query import query

    neighbours = query(
        chosen.input,
        chosen.index,
        k=chosen.neighbours,
        model=chosen.model,
        inside=chosen.inside,
        output=chosen.output,
        key=chosen.result,
        **chosen_options(chosen, QuerySettings),
    )
    outside = int(neighbours.outside.sum())
    log.info(
        "wrote %s: %s cells, %s out of reference", chosen.output, f"{len(neighbours.rows):,}", f"{outside:,}"
    )
