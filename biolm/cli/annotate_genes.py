"""``biolm annotate genes``: labelled genes to labels of all genes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import ReadingOptions
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ReadingOptions):
    """Options of ``biolm annotate genes``."""

    table: Annotated[
        Path,
        Option(
            help="Genes and labels by commas or tabs, with a header; genes come first.",
            argument=True,
            panel="Input",
        ),
    ]
    output: Annotated[
        Path, Option(help="Table to write: .tsv, .csv or .parquet.", flags=("--output", "-o"), panel="Output")
    ]
    label: Annotated[str | None, Option(help="Column of the table to learn.", shown="the second")] = None
    cells: Annotated[
        Path | None,
        Option(help="Cells for vectors in context and for training.", shown="none"),
    ] = None
    model: Annotated[
        str,
        Option(help="Built-in name, checkpoint folder or hub id.", flags=("--model", "-m"), panel="Model"),
    ] = "genetext"
    method: Annotated[
        str, Option(help="linear on frozen vectors; head, lora or full train the model on the cells.")
    ] = "linear"
    epochs: Annotated[int, Option(help="Most epochs of head, lora and full.", min=1)] = 10
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"
    json: Annotated[bool, Option(help="Print the scores as JSON on stdout.", panel="Output")] = False


def run(chosen: Arguments) -> None:
    """Learn labels of genes from labelled ones.

    Prints scores on genes that were held out beside those of baselines, and writes a table of all genes.
    """
    values = chosen.among(FitSettings)
    FitSettings(**values)
    from biolm.io.table import check_table
    from biolm.tasks.annotate.gene_labels import label_genes
    from biolm.tasks.annotate.table import rows_of

    check_table(chosen.output, overwrite=chosen.overwrite)
    calls = label_genes(chosen.table, label=chosen.label, data=chosen.cells, model=chosen.model, **values)
    calls.write(chosen.output, overwrite=chosen.overwrite)
    lines = [rows_of(calls.report["scores"]), "", *calls.report["verdict"]]
    typer.echo(json.dumps(calls.report, indent=1) if chosen.json else "\n".join(lines))
    log.info("wrote %s: %s genes", chosen.output, f"{len(calls.genes):,}")
