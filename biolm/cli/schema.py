"""``biolm schema``: JSON Schema of the configs of a workflow."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.common_options import input_argument
from biolm.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm schema``."""

    name: Annotated[str, input_argument("embed-, benchmark- or annotate-config, or -samples of one of them.")]


def run(chosen: Arguments) -> None:
    """Print the JSON Schema of a workflow's config or samples."""
    # The configs are made of the arguments of other commands.
    from biolm.cli.workflow_config import SHEETS
    from biolm.cli.workflow_schema import schema_of

    if chosen.name not in SHEETS:
        raise ConfigError(f"there is no schema '{chosen.name}'; choose from: {', '.join(SHEETS)}")
    kind, title = SHEETS[chosen.name]
    typer.echo(json.dumps(schema_of(kind, title), indent=2))
