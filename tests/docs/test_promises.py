"""Each promise about numbers stands on its page and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
TEXT = (DOCS / "explanation" / "promises.md").read_text(encoding="utf-8")
ROWS = re.findall(r'^\| `(docs/\S+)` \| "([^"]+)"[^|]* \| (.+) \|$', TEXT, re.MULTILINE)
TEST = re.compile(r"`(tests/\S+\.py)::(\w+)`")
# Words that promise something; tables of measured numbers and generated pages promise nothing.
PROMISES = re.compile(
    r"same\s+bytes|refuses?\s+normalised|counts\s+are\s+summed|\bp values?\b|false\s+discovery\s+rate",
    re.IGNORECASE,
)
MEASURED = ("benchmarks", "changelog", "reliability", "promises")


def test_every_line_of_the_table_is_read() -> None:
    assert len(ROWS) == TEXT.count("\n| ") - 2


@pytest.mark.parametrize(("page", "words", "tests"), ROWS)
def test_a_promise_stands_on_its_page_and_names_tests(page: str, words: str, tests: str) -> None:
    assert " ".join(words.split()) in " ".join((REPOSITORY / page).read_text(encoding="utf-8").split())
    assert TEST.search(tests)


@pytest.mark.parametrize(("file", "name"), sorted(set(TEST.findall(TEXT))))
def test_a_named_test_exists(file: str, name: str) -> None:
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_page_that_promises_is_in_the_table() -> None:
    pages = {
        str(page.relative_to(REPOSITORY))
        for page in DOCS.glob("**/*.md")
        if "_build" not in page.parts
        and not page.stem.startswith(MEASURED)
        and PROMISES.search(page.read_text(encoding="utf-8"))
    }
    assert pages <= {page for page, _, _ in ROWS}
