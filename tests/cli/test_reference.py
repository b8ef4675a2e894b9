"""The page of the command line is what the commands themselves say."""

from __future__ import annotations

import importlib.util

import pytest

from biolm.cli.main import COMMANDS


@pytest.fixture(scope="module")
def page(repository):
    spec = importlib.util.spec_from_file_location("cli_reference", repository / "docs" / "cli_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(page):
    assert page.PAGE.read_text(encoding="utf-8") == page.reference(), "run python docs/cli_reference.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_its_required_options(page, name):
    text = page.section(name, COMMANDS[name])
    assert text.startswith(f"## biolm {name}\n\n")
    assert "`--quiet`, `-q`" in text


def test_rows_of_known_options(page):
    text = page.section("embed", COMMANDS["embed"])
    assert "| `INPUT` | required |" in text
    assert "| `--model`, `-m` | `cellfactors` |" in text
    assert "| `--seed` | `0` |" in text
    assert "| `--resume` |  |" in text
    assert "| `--key` | X_MODEL |" in text
