"""``biolm tokenize``: cells or sequences of a file to tokens in a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.common_options import DATA, Json
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.tokens.tokenize import TokenizeSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TokenizeSettings, Common):
    """Options of ``biolm tokenize``: those of the job, and what is read and written."""

    input: Annotated[Path, DATA]
    model: Annotated[
        str, Option(help="Checkpoint folder, name or hub id.", flags=("--model", "-m"), panel="Model")
    ]
    output: Annotated[
        Path,
        Option(help="File to write: .parquet, .arrow or .zarr.", flags=("--output", "-o"), panel="Output"),
    ]
    json: Json = False


def run(chosen: Arguments) -> None:
    """Turn every cell or sequence into tokens of a model."""
    from biolm.tasks.tokens.tokenize import tokenize_file

    summary = tokenize_file(chosen.input, chosen.output, chosen.model, chosen)
    log.info("wrote %s: %s rows, %s tokens", summary.output, f"{summary.cells:,}", f"{summary.tokens:,}")
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
