"""The page of the command line lists every command and option as the program knows it."""

from __future__ import annotations

import dataclasses
import re
from typing import get_type_hints

import pytest

from biolm.cli import demo, embed, inspect, models, tokenize

COMMANDS = {"demo": demo, "embed": embed, "inspect": inspect, "models": models, "tokenize": tokenize}


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## biolm (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_command_has_a_section(repository):
    assert set(sections((repository / "docs/reference/cli.md").read_text())) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_listed_with_its_help(repository, name):
    section = sections((repository / "docs/reference/cli.md").read_text())[name]
    arguments = COMMANDS[name].Arguments
    hints = get_type_hints(arguments, include_extras=True)
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    for field in dataclasses.fields(arguments):
        info = hints[field.name].__metadata__[0]
        label = (
            field.name.upper()
            if type(info).__name__ == "ArgumentInfo"
            else f"--{field.name.replace('_', '-')}"
        )
        row = next(row for row in rows if f"`{label}`" in row)
        assert row.endswith(f"| {info.help} |")
        default = None if field.default in (dataclasses.MISSING, None, False) else str(field.default)
        assert default is None or f"`{default}`" in row
        assert ("required" in row) == (field.default is dataclasses.MISSING)
    assert len(rows) == len(dataclasses.fields(arguments))
