"""``biolm annotate genes``: labelled genes to labels of all genes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import MODEL, Common
from biolm.common_options import Json, input_argument, output_option
from biolm.models.catalogue import DEFAULT_GENES
from biolm.options import Option, chosen_options
from biolm.progress import log
from biolm.tasks.annotate.settings import GeneFitSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(GeneFitSettings, Common):
    """Options of ``biolm annotate genes``: those of the job, and what is read and written."""

    table: Annotated[Path, input_argument("Genes and labels, comma- or tab-separated, genes first.")]
    output: Annotated[Path, output_option("Table to write: .tsv, .csv or .parquet.")]
    label: Annotated[str | None, Option(help="Column of the table to learn.", shown="the second")] = None
    cells: Annotated[
        Path | None,
        Option(help="Cells for vectors in context and for training.", shown="none", python="data"),
    ] = None
    model: Annotated[str, MODEL] = DEFAULT_GENES
    json: Json = False


def run(chosen: Arguments) -> None:
    """Predict labels of genes from labelled ones.

    Prints scores on genes that were held out beside those of baselines, and writes a table of all genes.
    """
    from biolm.io.table import check_table
    from biolm.tasks.annotate.gene_labels import label_genes
    from biolm.tasks.annotate.table import rows_of

    # Before the training, which takes minutes to hours.
    check_table(chosen.output, overwrite=chosen.overwrite)
    options = chosen_options(chosen, GeneFitSettings)
    calls = label_genes(chosen.table, label=chosen.label, data=chosen.cells, model=chosen.model, **options)
    calls.write(chosen.output, overwrite=chosen.overwrite)
    lines = [rows_of(calls.report["scores"]), "", *calls.report["verdict"]]
    typer.echo(json.dumps(calls.report, indent=1) if chosen.json else "\n".join(lines))
    log.info("wrote %s: %s genes", chosen.output, f"{len(calls.genes):,}")
