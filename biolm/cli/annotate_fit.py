"""``biolm annotate fit``: labelled cells or sequences to an annotator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from biolm.cli.arguments import Letters, Reading
from biolm.errors import ConfigError
from biolm.io.sequences import is_sequence_file
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading, Letters):
    """Options of ``biolm annotate fit``."""

    label: Annotated[list[str], Option(help="Column to learn, of obs or of --labels; may be repeated.")]
    output: Annotated[
        Path, Option(help="Folder to write the annotator to.", flags=("--output", "-o"), panel="Output")
    ]
    model: Annotated[
        str,
        Option(help="Built-in name, checkpoint folder or hub id.", flags=("--model", "-m"), panel="Model"),
    ] = "genetext"
    method: Annotated[
        str, Option(help="linear or knn on frozen vectors; head, lora or full train the model.")
    ] = "linear"
    features: Annotated[
        str,
        Option(help="What linear reads: embedding, expression (of sequences: kmers) or joint (both)."),
    ] = "joint"
    batch: Annotated[
        str | None, Option(help="Column of donors or batches to keep together.", shown="none")
    ] = None
    leave_out: Annotated[list[str] | None, Option(help="Label that is no class; may be repeated.")] = None
    test_share: Annotated[float, Option(help="Share of cells (batches) to measure on.")] = 0.2
    max_cells: Annotated[int, Option(help="Most cells to use; more are sampled.", min=1)] = 20_000
    neighbours: Annotated[int, Option(help="Neighbours that knn asks.", min=1)] = 10
    reject: Annotated[float, Option(help="Share of known cells that may be called unknown.")] = 0.05
    epochs: Annotated[int, Option(help="Most epochs of head, lora and full.", min=1)] = 10
    pool: Annotated[
        str | None, Option(help="How tokens become one vector.", shown="the model's own", panel="Model")
    ] = None
    batch_tokens: Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")] = 16_384
    labels: Annotated[
        Path | None,
        Option(help="Of sequences: table with their names first, or a label a letter."),
    ] = None
    numbers: Annotated[bool, Option(help="Of sequences: learn numbers, not classes.")] = False
    per_residue: Annotated[bool, Option(help="Of sequences: each letter has a label.")] = False
    split: Annotated[
        str, Option(help="Of sequences: hold out whole clusters of similar ones, or random.")
    ] = "clusters"
    identity: Annotated[
        float | None, Option(help="Sequences so alike share a cluster.", shown="0.5; DNA 0.8")
    ] = None
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"
    json: Annotated[bool, Option(help="Print the report as JSON on stdout.", panel="Output")] = False


def run(chosen: Arguments) -> None:
    """Learn to name cells, or to label sequences, from labelled ones.

    Prints scores on held-out cells beside those of the baselines, and writes a folder for biolm annotate
    predict.
    """
    if is_sequence_file(chosen.input):
        _sequences(chosen)
        return
    if chosen.labels is not None:
        raise ConfigError("labels of cells are columns of obs; leave --labels out")
    chosen.refuse_for_cells("numbers", "per_residue", "split", "identity")
    values: dict[str, Any] = chosen.among(FitSettings)
    settings = values | {"leave_out": tuple(chosen.leave_out or ())}
    FitSettings(**settings)
    from biolm.tasks.annotate.fit import fit
    from biolm.tasks.annotate.table import table_of

    annotator = fit(chosen.input, label=chosen.label, model=chosen.model, output=chosen.output, **settings)
    reports = {head.label: dict(head.report) for head in annotator.heads}
    typer.echo(json.dumps(reports, indent=1) if chosen.json else table_of(reports), nl=True)
    log.info("wrote %s", chosen.output)


def _sequences(chosen: Arguments) -> None:
    """The same for sequences."""
    from biolm.tasks.annotate.sequence_settings import SequenceFitSettings

    values: dict[str, Any] = chosen.among(SequenceFitSettings)
    values.pop("progress", None)
    values |= {"leave_out": tuple(chosen.leave_out or ()), "max_rows": chosen.max_cells}
    SequenceFitSettings(**values)
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
        **values,
    )
    report = dict(annotator.report)
    typer.echo(json.dumps(report, indent=1) if chosen.json else report_text(annotator.label, report))
    log.info("wrote %s", chosen.output)
