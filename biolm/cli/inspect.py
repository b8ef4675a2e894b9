"""``biolm inspect``: what a checkpoint holds."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.common_options import Json, input_argument


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm inspect``."""

    checkpoint: Annotated[str, input_argument("Checkpoint folder, config.json, built-in name or hub id.")]
    json: Json = False


def run(chosen: Arguments) -> None:
    """Show config, parameters, genes and hashes of a model."""
    from biolm.tasks.inspect import inspect_checkpoint

    report = inspect_checkpoint(chosen.checkpoint)
    typer.echo(json.dumps(report.as_dict(), indent=1) if chosen.json else report.as_text())
