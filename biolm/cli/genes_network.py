"""``biolm genes network``: genes that a model holds to be alike, or that look at each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Reading
from biolm.errors import ConfigError
from biolm.jobs.settings import EmbedSettings, ReadingSettings
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]

_SOURCES = ("static", "contextual", "attention")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading):
    """Options of ``biolm genes network``."""

    output: Annotated[
        Path, Option(help="Table to write: .parquet, .tsv or .csv.", flags=("--output", "-o"), panel="Output")
    ]
    model: Annotated[
        str,
        Option(help="Built-in name, checkpoint folder or hub id.", flags=("--model", "-m"), panel="Model"),
    ] = "genetext"
    source: Annotated[str, Option(help="static, contextual or attention.", flags=("--from",))] = "static"
    neighbours: Annotated[int, Option(help="Neighbours of a gene.", flags=("--neighbours", "-k"), min=1)] = 10
    permutations: Annotated[int, Option(help="Permutations of the null.", min=1)] = 5
    max_fdr: Annotated[float, Option(help="Write edges up to this FDR; 1 writes all.")] = 0.05
    minimum_cells: Annotated[int, Option(help="Fewest cells of a gene or a pair.", min=1)] = 10
    top: Annotated[int, Option(help="Genes that attention is read of.", min=2)] = 300
    cells: Annotated[int, Option(help="Cells that attention is read in.", min=1)] = 200
    batch_tokens: Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")] = 16_384
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"


def run(chosen: Arguments) -> None:
    """Join genes that are alike and test every edge.

    Edges from vectors of genes or from attention, with a permutation null and false discovery rates.
    """
    from biolm.io.table import check_table
    from biolm.tasks.genes.attention import attention_network
    from biolm.tasks.genes.network import check_rate, network, write_network
    from biolm.tasks.genes.vectors import contextual, static

    if chosen.source not in _SOURCES:
        raise ConfigError(f"--from {chosen.source} is not one of {', '.join(_SOURCES)}")
    check_table(chosen.output, overwrite=chosen.overwrite)
    check_rate(chosen.max_fdr)
    options = chosen.among(EmbedSettings)
    if chosen.source == "attention":
        found = attention_network(
            chosen.input,
            model=chosen.model,
            top=chosen.top,
            k=chosen.neighbours,
            cells=chosen.cells,
            minimum_cells=chosen.minimum_cells,
            permutations=chosen.permutations,
            max_fdr=chosen.max_fdr,
            device=chosen.device,
            **chosen.among(ReadingSettings),
        )
    else:
        if chosen.source == "contextual":
            genes = contextual(
                chosen.input, model=chosen.model, minimum_cells=chosen.minimum_cells, **options
            )
        else:
            genes = static(chosen.model, chosen.input, **options)
        found = network(
            genes,
            k=chosen.neighbours,
            permutations=chosen.permutations,
            max_fdr=chosen.max_fdr,
            seed=chosen.seed,
        )
    write_network(found, chosen.output, overwrite=chosen.overwrite)
    log.info(
        "wrote %s: %s edges with FDR up to %g, of %s pairs of neighbours",
        chosen.output,
        f"{len(found):,}",
        chosen.max_fdr,
        f"{found.facts['edges_tested']:,}",
    )
