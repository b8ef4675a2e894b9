"""``biolm models``: what can be loaded."""

from __future__ import annotations

import dataclasses
import json
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from biolm.cli.arguments import Common
from biolm.options import Option

if TYPE_CHECKING:
    from biolm.models.catalogue import Entry

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm models``."""

    json: Annotated[bool, Option(help="Print JSON.", panel="Output")] = False


def run(chosen: Arguments) -> None:
    """List the models and systems that can be loaded."""
    from biolm.models.registry import available

    entries = [entry for entry in available() if not entry.hidden]
    if chosen.json:
        names = ("name", "reads", "built_in", "files", "summary")
        typer.echo(
            json.dumps([{name: getattr(entry, name) for name in names} for entry in entries], indent=1)
        )
        return
    for reads in dict.fromkeys(entry.reads for entry in entries):
        typer.echo(f"{reads[0].upper()}{reads[1:]}:")
        for entry in entries:
            if entry.reads == reads:
                _show(entry)
    typer.echo(
        "A name alone loads what ships with biolm. Of the others, and of models trained\n"
        "with biolm pretrain, give the folder: biolm embed FILE -m FOLDER -o OUTPUT."
    )


def _show(entry: Entry) -> None:
    for number, line in enumerate(wrap(entry.summary, 54)):
        typer.echo(f"  {'' if number else entry.name:24}{line}")
    for line in wrap(f"needs {entry.files}" if entry.files else "", 54):
        typer.echo(f"  {'':24}{line}")
