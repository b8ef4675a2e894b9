"""``biolm annotate predict``: cells of a file named by an annotator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from biolm.cli.arguments import Letters, Reading, Sharded
from biolm.io.sequences import is_sequence_file
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.annotate.settings import PredictSettings

if TYPE_CHECKING:
    from biolm.adapters.sequences import Policy

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading, Sharded, Letters):
    """Options of ``biolm annotate predict``."""

    annotator: Annotated[
        Path, Option(help="Folder that biolm annotate fit wrote.", flags=("--annotator", "-a"), panel="Model")
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
    key: Annotated[str | None, Option(help="Name of the result.", shown="biolm_LABEL", panel="Output")] = None
    reject: Annotated[bool, Option(help="Call cells below the threshold unknown.")] = True
    ontology: Annotated[
        str | None, Option(help="Cell types and ancestors: .obo, .json or .tsv.", shown="none")
    ] = None
    coarse: Annotated[list[str] | None, Option(help="Term to roll up to; may be repeated.")] = None
    batch_tokens: Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")] = 16_384
    block_rows: Annotated[
        int | None,
        Option(
            help="Cells worked on at a time; shards begin there.", min=1, shown="the model's own", panel="Run"
        ),
    ] = None
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"
    format: Annotated[str | None, Option(help="h5ad or zarr.", shown="by the ending", panel="Output")] = None
    json: Annotated[bool, Option(help="Print a summary as JSON on stdout.", panel="Output")] = False


def run(chosen: Arguments) -> None:
    """Name the cells of a file, or label its sequences.

    Writes a copy of the input with obs["biolm_LABEL"], its confidence and its probabilities.
    """
    if is_sequence_file(chosen.input):
        _sequences(chosen)
        return
    chosen.refuse_for_cells()
    values = chosen.among(PredictSettings) | {"coarse": tuple(chosen.coarse or ())}
    settings = PredictSettings(**values)
    from biolm.tasks.annotate.predict_file import predict_file

    counts = predict_file(chosen.input, chosen.output, chosen.annotator, settings, chosen.model)
    for key, sizes in counts.items():
        shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)
        log.info("%s: %s", key, shown)
    log.info("wrote %s", chosen.output)
    if chosen.json:
        typer.echo(json.dumps({"output": str(chosen.output), "cells": counts}, indent=1))


def _sequences(chosen: Arguments) -> None:
    """The same for sequences."""
    from biolm.io.atomic import refuse_existing
    from biolm.tasks.annotate.predict_sequences import predict_sequences, write_found

    refuse_existing(chosen.output, overwrite=chosen.overwrite)
    found = predict_sequences(
        chosen.input,
        chosen.annotator,
        model=chosen.model,
        key=chosen.key,
        reject=chosen.reject,
        letters=cast("Policy", chosen.letters),
        batch_tokens=chosen.batch_tokens,
        device=chosen.device,
    )
    write_found(found, chosen.output, overwrite=chosen.overwrite)
    log.info("wrote %s: %s sequences", chosen.output, f"{len(found.block):,}")
    if chosen.json:
        typer.echo(json.dumps({"output": str(chosen.output), "sequences": len(found.block)}, indent=1))
