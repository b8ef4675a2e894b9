"""``biolm annotate fit``: labelled cells or sequences to an annotator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import MODEL, Common
from biolm.common_options import DATA, SEQUENCES, Json, output_option
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.options import Option, chosen_options
from biolm.progress import log
from biolm.tasks.annotate.settings import FitSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(FitSettings, Common):
    """Options of ``biolm annotate fit``: those of the job, and what is read and written."""

    input: Annotated[Path, DATA]
    label: Annotated[tuple[str, ...], Option(help="Column to learn, of obs or of --labels; may be repeated.")]
    output: Annotated[Path, output_option("Folder to write the annotator to.")]
    model: Annotated[str, MODEL] = DEFAULT_MODEL
    labels: Annotated[
        Path | None,
        Option(
            help="Table with their names first, or strings with a label a residue.",
            panel="Sequences",
            only=SEQUENCES,
        ),
    ] = None
    json: Json = False


def run(chosen: Arguments) -> None:
    """Train an annotator of cells or sequences on labelled ones.

    Prints scores on held-out cells beside those of the baselines, and writes a folder for biolm annotate
    predict.
    """
    from biolm.tasks.annotate.fit import fit
    from biolm.tasks.annotate.table import table_of

    options = chosen_options(chosen, FitSettings)
    annotator = fit(
        chosen.input,
        label=chosen.label,
        labels=chosen.labels,
        model=chosen.model,
        output=chosen.output,
        **options,
    )
    reports = annotator.reports
    # A table of labels gives one column.
    shown = reports if chosen.labels is None else reports[chosen.label[0]]
    typer.echo(json.dumps(shown, indent=1) if chosen.json else table_of(reports))
    log.info("wrote %s", chosen.output)
