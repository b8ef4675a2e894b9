"""Write ``docs/reference/cli.md`` from the commands themselves: ``python docs/cli_reference.py``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

from biolm.cli.arguments import annotation, shown_fields
from biolm.cli.main import COMMANDS

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """# Command line

<!-- Written by docs/cli_reference.py; edit the commands, then run it. -->

`biolm COMMAND --help` prints the same. Results go to stdout or to `--output`, progress and messages to
stderr; a progress bar is drawn on a terminal only, and `NO_COLOR` is heeded. `python -m biolm` is the same
program.

| exit status | meaning |
| --- | --- |
| 0 | done |
| 1 | failed: one sentence on stderr says what was found and what to do; nothing half-written is left |
| 2 | wrong use: an unknown option, model, pool or format |
| 130, 143 | interrupted (Ctrl-C, SIGTERM); `biolm embed --resume` goes on |

`biolm --version` prints the version, `biolm --install-completion` sets up completion for your shell.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(name, module) for name, module in COMMANDS.items())])


def section(name: str, module: Any) -> str:
    """One command: what it does, and a table of its options, in the order of its help."""
    hints = get_type_hints(module.Arguments, include_extras=True)
    rows = [
        row(field, annotation(field, hints[field.name]).__metadata__[0])
        for field in shown_fields(module.Arguments)
    ]
    purpose = " ".join(module.run.__doc__.split())
    return "\n".join(
        [f"## biolm {name}", "", purpose, "", "| option | default | |", "| --- | --- | --- |", *rows, ""]
    )


def required(field: dataclasses.Field[Any]) -> bool:
    """Whether the user must give it."""
    return field.default is dataclasses.MISSING


def row(field: dataclasses.Field[Any], info: Any) -> str:
    """One option."""
    # Within Annotated, typer keeps the first declared name as the default of the parameter.
    declared = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
    if type(info).__name__ == "ArgumentInfo":
        declared = [field.name.upper()]
    names = declared or [f"--{field.name.replace('_', '-')}"]
    if required(field):
        default = "required"
    elif isinstance(info.show_default, str):
        default = info.show_default
    else:
        default = "" if field.default is False or field.default is None else f"`{field.default}`"
    return f"| {', '.join(f'`{name}`' for name in names)} | {default} | {info.help} |"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
