"""Every example of the documentation runs and prints what it says.

A fence marked ``python`` is run, as a doctest where it has prompts; a fence marked ``console`` has its
``$ biolm`` commands run, and what stands below a command is compared with what it prints. Examples of one
page share their names and an empty folder that holds ``data/``.
"""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in (REPOSITORY / "biolm").glob("**/*.py")
    if re.search(r">>> (?!.*doctest: \+SKIP)", path.read_text(encoding="utf-8"))
)
FENCE = re.compile(r"^```(python|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [
    page
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md")))
    if "_build" not in page.parts and FENCE.search(page.read_text(encoding="utf-8"))
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _examples(page: Path) -> Iterator[tuple[str, str, int]]:
    """Kind, text and line of every fence that runs."""
    text = page.read_text(encoding="utf-8")
    for fence in FENCE.finditer(text):
        yield fence[1], fence[2], text[: fence.start()].count("\n") + 2


def _doctest(text: str, names: dict[str, Any], where: str, line: int) -> None:
    test = doctest.DocTestParser().get_doctest(text, names, where, where, line)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=report.append, clear_globs=False)
    names |= test.globs
    assert runner.failures == 0, "".join(report)


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command, with the lines that stand below it."""
    for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def _console(text: str, where: str) -> None:
    from typer.testing import CliRunner

    from biolm.cli.main import app

    for command, expected in _commands(text):
        program, *arguments = shlex.split(command, comments=True)
        if program != "biolm":
            continue
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{where}: {command}\n{result.output}{result.exception}"
        if expected.strip():
            assert doctest.OutputChecker().check_output(expected, result.stdout, FLAGS), result.stdout


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder that sees the shipped data as a checkout does."""
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_page(page: Path, workplace: None) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    for kind, text, line in _examples(page):
        where = f"{page.name}:{line}"
        if kind == "console":
            _console(text, where)
        elif ">>>" in text:
            _doctest(text, names, where, line)
        else:
            exec(compile(text, where, "exec", dont_inherit=True), names)


@pytest.mark.parametrize("module", MODULES)
def test_docstring(module: str, workplace: None) -> None:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module), module)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for test in found:
        runner.run(test, out=report.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(report)
