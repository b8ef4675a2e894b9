"""``biolm models``: what can be loaded."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from biolm.cli.arguments import Common

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm models``."""

    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


def run(chosen: Arguments) -> None:
    """List the models and systems that can be loaded."""
    from biolm.models.registry import available

    entries = available()
    if chosen.json:
        rows = [
            {"name": entry.name, "built_in": entry.built_in, "files": entry.files, "summary": entry.summary}
            for entry in entries
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    width = max(len(entry.name) for entry in entries)
    for title, built_in in (("Load by name:", True), ("Load from the folder of a checkpoint:", False)):
        typer.echo(title)
        for entry in entries:
            if entry.built_in == built_in:
                typer.echo(f"  {entry.name:{width}}  {entry.summary}")
                if entry.files:
                    typer.echo(f"  {'':{width}}  needs {entry.files}")
