"""``biolm models``: what can be loaded."""

from __future__ import annotations

import dataclasses
from textwrap import wrap
from typing import TYPE_CHECKING

import typer

from biolm.cli.arguments import Common, print_json
from biolm.common_options import Json

if TYPE_CHECKING:
    from biolm.models.catalogue import Entry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm models``."""

    json: Json = False


def run(chosen: Arguments) -> None:
    """List the models and systems that can be loaded."""
    from biolm.models.cards import card_fields
    from biolm.models.registry import available

    entries = [entry for entry in available() if not entry.hidden]
    if chosen.json:
        names = ("name", "reads", "built_in", "files", "summary")
        rows = [{name: getattr(entry, name) for name in names} | card_fields(entry.name) for entry in entries]
        print_json(rows)
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
    from biolm.models.cards import CARDS, card_fields

    metadata = card_fields(entry.name)
    parts = [entry.summary]
    if entry.files:
        parts.append(f"needs {entry.files}")
    if metadata["get"]:
        parts.append(f"weights: {metadata['get']}")
    if card := CARDS.get(entry.name):
        parts.append(f"licences: code {card.code}; weights {metadata['licence_of_weights']}")
        parts.append(f"{', '.join(card.species)}; {card.genes}; {card.wants}")
        parts.append(f"cannot {card.cannot}")
    for number, part in enumerate(parts):
        # 26 columns stand before it: together 80.
        for line, text in enumerate(wrap(part, 54)):
            typer.echo(f"  {'' if number or line else entry.name:24}{text}")
