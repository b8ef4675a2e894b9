"""``biolm genes network``: genes that a model holds to be alike, or that look at each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import CELL_FILE, MODEL, Common
from biolm.common_options import output_option
from biolm.jobs.settings import ReadingSettings
from biolm.models.catalogue import DEFAULT_GENES
from biolm.options import Option, chosen_options, refuse_others
from biolm.progress import log
from biolm.tasks.genes.vectors import ContextSettings, StaticSettings

_READING = tuple(field.name for field in dataclasses.fields(ReadingSettings))
_ALWAYS = ("input", "output", "model", "source", "neighbours", "permutations", "max_fdr", "seed", "overwrite")
_OF_SOURCE = {
    "static": tuple(name for name in _READING if name != "allow_normalised"),
    "contextual": (*(field.name for field in dataclasses.fields(ContextSettings)), "minimum_cells"),
    "attention": (*_READING, "device", "minimum_cells", "top", "cells"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ContextSettings, Common):
    """Options of ``biolm genes network``: those of the job, and what is read and written."""

    input: Annotated[Path, CELL_FILE]
    output: Annotated[Path, output_option("Table to write: .parquet, .tsv or .csv.")]
    model: Annotated[str, MODEL] = DEFAULT_GENES
    source: Annotated[
        str, Option(help="static, contextual or attention.", choices=tuple(_OF_SOURCE), flags=("--from",))
    ] = "static"
    neighbours: Annotated[
        int, Option(help="Neighbours of a gene.", flags=("--neighbours", "-k"), min=1, python="k")
    ] = 10
    permutations: Annotated[int, Option(help="Permutations of the null.", min=1)] = 5
    max_fdr: Annotated[float, Option(help="Write edges up to this FDR; 1 writes all.")] = 0.05
    minimum_cells: Annotated[int, Option(help="Fewest cells of a gene or a pair.", min=1)] = 10
    top: Annotated[int, Option(help="Genes that attention is read of.", min=2)] = 300
    cells: Annotated[int, Option(help="Cells that attention is read in.", min=1)] = 200


def run(chosen: Arguments) -> None:
    """Build a network of similar genes and test every edge.

    Edges from vectors of genes or from attention, with a permutation null and false discovery rates.
    """
    from biolm.io.table import check_table
    from biolm.tasks.genes.attention import attention_network
    from biolm.tasks.genes.network import check_rate, network, write_network
    from biolm.tasks.genes.vectors import contextual, static

    used = {*_ALWAYS, *_OF_SOURCE[chosen.source], "quiet", "debug"}
    refuse_others(chosen, used, f"means nothing for `source={chosen.source}`")
    check_table(chosen.output, overwrite=chosen.overwrite)
    check_rate(chosen.max_fdr)
    if chosen.source == "attention":
        edges = attention_network(
            chosen.input,
            model=chosen.model,
            top=chosen.top,
            k=chosen.neighbours,
            cells=chosen.cells,
            minimum_cells=chosen.minimum_cells,
            permutations=chosen.permutations,
            max_fdr=chosen.max_fdr,
            device=chosen.device,
            **chosen_options(chosen, ReadingSettings),
        )
    else:
        if chosen.source == "contextual":
            genes = contextual(
                chosen.input,
                model=chosen.model,
                minimum_cells=chosen.minimum_cells,
                **chosen_options(chosen, ContextSettings),
            )
        else:
            options = chosen_options(chosen, StaticSettings)
            # The seed is that of the permutations; vectors of the table are not drawn.
            options.pop("seed", None)
            genes = static(chosen.model, chosen.input, **options)
        edges = network(
            genes,
            k=chosen.neighbours,
            permutations=chosen.permutations,
            max_fdr=chosen.max_fdr,
            seed=chosen.seed,
        )
    write_network(edges, chosen.output, overwrite=chosen.overwrite)
    log.info(
        "wrote %s: %s edges with FDR up to %g, of %s pairs of neighbours",
        chosen.output,
        f"{len(edges):,}",
        chosen.max_fdr,
        f"{edges.provenance['edges_tested']:,}",
    )
