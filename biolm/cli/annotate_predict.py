"""``biolm annotate predict``: cells of a file named by an annotator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import SUMMARY, Common
from biolm.io.sequences import is_sequence_file
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.annotate.settings import PredictSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(PredictSettings, Common):
    """Options of ``biolm annotate predict``: those of the job, and what is read and written."""

    input: Annotated[
        Path,
        Option(help="Cells: h5ad, zarr, loom, 10x, csv. Sequences: FASTA ...", argument=True, panel="Input"),
    ]
    annotator: Annotated[
        Path,
        Option(help="Folder that biolm annotate fit wrote.", flags=("--annotator", "-a"), panel="Model"),
    ]
    output: Annotated[
        Path,
        Option(
            help="File to write: .h5ad or .zarr (of sequences also .tsv); a folder for a shard.",
            flags=("--output", "-o"),
            panel="Output",
        ),
    ]
    model: Annotated[
        str | None,
        Option(help="The annotator's model.", flags=("--model", "-m"), shown="where it was", panel="Model"),
    ] = None
    json: Annotated[bool, SUMMARY] = False


def run(chosen: Arguments) -> None:
    """Name the cells of a file, or label its sequences.

    Writes a copy of the input with obs["biolm_LABEL"], its confidence and its probabilities.
    """
    if is_sequence_file(chosen.input):
        _sequences(chosen)
        return
    from biolm.tasks.annotate.predict_file import predict_file

    counts = predict_file(chosen.input, chosen.output, chosen.annotator, chosen, chosen.model)
    for key, sizes in counts.items():
        shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)
        log.info("%s: %s", key, shown)
    log.info("wrote %s", chosen.output)
    if chosen.json:
        typer.echo(json.dumps({"output": str(chosen.output), "cells": counts}, indent=1))


def _sequences(chosen: Arguments) -> None:
    """The same for sequences."""
    from biolm.tasks.annotate.predict_sequences import predict_sequence_file

    many = predict_sequence_file(chosen.input, chosen.output, chosen.annotator, chosen, chosen.model)
    log.info("wrote %s: %s sequences", chosen.output, f"{many:,}")
    if chosen.json:
        typer.echo(json.dumps({"output": str(chosen.output), "sequences": many}, indent=1))
