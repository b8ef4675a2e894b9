"""Messages of the library: no flags of the command line, no names of errors of Python."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "biolm"
LIBRARY = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "cli")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def _messages(tree: ast.AST) -> Iterator[ast.expr]:
    """What is raised or logged."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from node.exc.args
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("info", "warning", "error")
        ):
            yield from node.args


def _faults(source: str) -> list[str]:
    found = []
    for message in _messages(ast.parse(source)):
        for part in ast.walk(message):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                found += FLAG.findall(part.value)
            elif isinstance(part, ast.Attribute) and part.attr == "__name__" and "error" in ast.unparse(part):
                found.append(ast.unparse(part))
    return found


@pytest.mark.parametrize(
    "source",
    [
        'raise InputError(f"{path} exists; use --overwrite")',
        'log.info("go on with --resume")',
        'raise InputError(f"bad ({type(error).__name__})")',
    ],
)
def test_the_check_finds_what_it_is_for(source: str) -> None:
    assert _faults(source)


def test_messages_name_options_not_flags_and_no_python_errors() -> None:
    assert len(LIBRARY) > 200
    faults = {str(path.relative_to(ROOT)): _faults(path.read_text(encoding="utf-8")) for path in LIBRARY}
    assert {name: each for name, each in faults.items() if each} == {}
