"""What a model looks like in a notebook: one line, whatever it holds."""

from __future__ import annotations

import numpy as np

import biolm
from biolm.tasks.search.build import IndexSettings, make_index
from biolm.tasks.search.index import CellTable


def things() -> list[object]:
    genetext = biolm.load("genetext")
    names = np.array([str(number) for number in range(50)])
    cells = CellTable(names, names, np.arange(50))
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    index = make_index(vectors, cells, IndexSettings(), metadata={"model": "genetext"})
    return [genetext, genetext.vocabulary, biolm.load("biolm-cell-mini"), index]


def test_it_is_one_line() -> None:
    for thing in things():
        text = repr(thing)
        assert text.startswith(type(thing).__name__)
        assert "\n" not in text
        assert len(text) < 300
