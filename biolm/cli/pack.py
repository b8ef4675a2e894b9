"""``biolm pack``: cells, sequences or stored tokens of many files to one store for training."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.common_options import Json, OutputFolder
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.tokens.pack import PackSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(PackSettings, Common):
    """Options of ``biolm pack``: those of the job, and what is read and written."""

    input: Annotated[
        tuple[str, ...],
        Option(
            help="Files, folders, globs or .txt lists of cells, of sequences, or of stored tokens.",
            argument=True,
            panel="Input",
        ),
    ]
    output: OutputFolder
    json: Json = False


def run(chosen: Arguments) -> None:
    """Pack cells or sequences of many files into one store.

    The store is a folder of mapped arrays; embed, tokenize and pretrain read it like any other file.
    """
    from biolm.tasks.tokens.pack import pack_files

    summary = pack_files(chosen.input, chosen.output, chosen)
    log.info(
        "wrote %s: %s %s of %d files, %s values",
        summary.output,
        f"{summary.rows:,}",
        {"cells": "cells", "sequences": "sequences"}.get(summary.kind, "examples"),
        summary.files,
        f"{summary.values:,}",
    )
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
