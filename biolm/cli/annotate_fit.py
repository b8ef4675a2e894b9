"""``biolm annotate fit``: labelled cells or sequences to an annotator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from biolm.cli.arguments import MODEL, Common
from biolm.errors import ConfigError
from biolm.io.sequences import is_sequence_file
from biolm.jobs.settings import SEQUENCES
from biolm.options import Option, chosen_options
from biolm.progress import log
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(FitSettings, Common):
    """Options of ``biolm annotate fit``: those of the job, and what is read and written."""

    input: Annotated[
        Path,
        Option(help="Cells: h5ad, zarr, loom, 10x, csv. Sequences: FASTA ...", argument=True, panel="Input"),
    ]
    label: Annotated[tuple[str, ...], Option(help="Column to learn, of obs or of --labels; may be repeated.")]
    output: Annotated[
        Path, Option(help="Folder to write the annotator to.", flags=("--output", "-o"), panel="Output")
    ]
    model: Annotated[str, MODEL] = "genetext"
    labels: Annotated[
        Path | None,
        Option(
            help="Table with their names first, or strings with a label a residue.",
            panel="Sequences",
            only=SEQUENCES,
        ),
    ] = None
    json: Annotated[bool, Option(help="Print the report as JSON on stdout.", panel="Output")] = False


def run(chosen: Arguments) -> None:
    """Learn to name cells, or to label sequences, from labelled ones.

    Prints scores on held-out cells beside those of the baselines, and writes a folder for biolm annotate
    predict.
    """
    options = chosen_options(chosen, FitSettings)
    if is_sequence_file(chosen.input):
        _sequences(chosen, options)
        return
    chosen.check_modality("cells")
    from biolm.tasks.annotate.fit import fit
    from biolm.tasks.annotate.table import table_of

    annotator = fit(chosen.input, label=chosen.label, model=chosen.model, output=chosen.output, **options)
    reports = {head.label: dict(head.report) for head in annotator.heads}
    typer.echo(json.dumps(reports, indent=1) if chosen.json else table_of(reports), nl=True)
    log.info("wrote %s", chosen.output)


def _sequences(chosen: Arguments, options: dict[str, Any]) -> None:
    """The same for sequences."""
    chosen.check_modality("sequences")
    if chosen.labels is None or len(chosen.label) != 1:
        raise ConfigError("to label sequences give their labels (--labels TABLE) and one column (--label)")
    from biolm.tasks.annotate.fit_sequences import fit_sequences
    from biolm.tasks.annotate.sequence_text import report_text

    annotator = fit_sequences(
        chosen.input,
        chosen.labels,
        label=chosen.label[0],
        model=chosen.model,
        output=chosen.output,
        **options,
    )
    report = dict(annotator.report)
    typer.echo(json.dumps(report, indent=1) if chosen.json else report_text(annotator.label, report))
    log.info("wrote %s", chosen.output)
