"""``biolm tokenize``: cells of a file to tokens in a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Reading, Sharded
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading, Sharded):
    """Options of ``biolm tokenize``."""

    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint folder, name or hub id.")]
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .parquet, .arrow or .zarr.")]
    workers: Annotated[int, typer.Option(min=1, help="Threads that tokenise.")] = 1
    format: Annotated[
        str | None, typer.Option(help="parquet, arrow or zarr.", show_default="by the ending")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")] = False


def run(chosen: Arguments) -> None:
    """Turn every cell of a file into tokens of a model."""
    from biolm.tasks.tokenize import TokenizeSettings, tokenize_file

    settings = TokenizeSettings(**chosen.among(TokenizeSettings))
    summary = tokenize_file(chosen.input, chosen.output, chosen.model, settings, chosen.format)
    log.info("wrote %s: %s cells, %s tokens", summary.output, f"{summary.cells:,}", f"{summary.tokens:,}")
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
