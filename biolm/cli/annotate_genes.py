"""``biolm annotate genes``: labelled genes to labels of all genes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import ReadingOptions
from biolm.progress import log
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ReadingOptions):
    """Options of ``biolm annotate genes``."""

    table: Annotated[
        Path, typer.Argument(help="Genes and labels by commas or tabs, with a header; genes come first.")
    ]
    output: Annotated[Path, typer.Option("--output", "-o", help="Table to write: .tsv, .csv or .parquet.")]
    label: Annotated[
        str | None, typer.Option(help="Column of the table to learn.", show_default="the second")
    ] = None
    cells: Annotated[
        Path | None,
        typer.Option("--cells", help="Cells for vectors in context and for training.", show_default="none"),
    ] = None
    model: Annotated[
        str, typer.Option("--model", "-m", help="Built-in name, checkpoint folder or hub id.")
    ] = "genetext"
    method: Annotated[
        str, typer.Option(help="linear on frozen vectors; head, lora or full train the model on the cells.")
    ] = "linear"
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs of head, lora and full.")] = 10
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout.")] = False


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
