"""``biolm pack``: cells, sequences or stored tokens of many files to one store for training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import ReadingOptions
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ReadingOptions):
    """Options of ``biolm pack``."""

    input: Annotated[
        list[str],
        Option(
            help="Files, folders, globs or .txt lists of cells, of sequences, or of stored tokens.",
            argument=True,
            panel="Input",
        ),
    ]
    output: Annotated[Path, Option(help="Folder to write.", flags=("--output", "-o"), panel="Output")]
    obs: Annotated[
        list[str] | None,
        Option(help="Column of the cell tables to keep; repeatable.", shown="those all files have"),
    ] = None
    duplicates: Annotated[str, Option(help="Sequences: repeated names are an error, or keep.")] = "error"
    resume: Annotated[bool, Option(help="Go on with an interrupted job.", panel="Run")] = False
    json: Annotated[bool, Option(help="Print a summary as JSON on stdout.", panel="Output")] = False


def run(chosen: Arguments) -> None:
    """Pack cells or sequences of many files into one store.

    The store is a folder of mapped arrays; embed, tokenize and pretrain read it like any other file.
    """
    from biolm.tasks.pack import PackSettings, pack_files

    options = chosen.among(PackSettings)
    settings = PackSettings(**options | {"obs": None if chosen.obs is None else tuple(chosen.obs)})
    summary = pack_files(chosen.input, chosen.output, settings)
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
