"""Mutants of files of every reader: refused in one sentence or read, without a hang and in bounded memory.

The short run is part of the test command; ``make fuzz`` tries 200 mutants a reader. What came of them is
printed, and of each fault what is needed to see it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module

import pytest
from watched import Watched

MUTANTS = int(os.environ.get("BIOLM_FUZZ", "6"))
MODULES = ("read_cells", "read_sequences", "read_text", "read_spatial", "read_own", "read_models")
READERS = [(module, case) for module in MODULES for case in import_module(module).CASES]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    made = Watched(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.close()


@pytest.mark.parametrize(("module", "case"), READERS, ids=[case.replace(" ", "-") for _, case in READERS])
def test_mutants_are_refused_or_read(
    watched: Watched, module: str, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = watched.tried(module, case, range(MUTANTS))
    with capsys.disabled():
        print(f"\n {tally}", end="")
    assert tally.counts.total() == MUTANTS
    assert not tally.faults, "\n".join(tally.faults)
