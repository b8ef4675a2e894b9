"""A kind of data of another package: lines of text, each a row; and a model that reads it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from biolm.jobs.modality import Modality
from biolm.jobs.rows import RowEmbedding, RowWriter


class Lines:
    """Lines ``NAME LABEL TEXT`` of a file."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._rows = [line.split(" ", 2) for line in self.path.read_text().splitlines()]

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self, rows: int, start: int = 0, stop: int | None = None):
        last = len(self) if stop is None else stop
        for first in range(start, last, rows):
            yield [row[2] for row in self._rows[first : min(first + rows, last)]]

    def names(self) -> np.ndarray:
        return np.array([row[0] for row in self._rows])

    def columns(self) -> dict[str, np.ndarray]:
        return {"label": np.array([row[1] for row in self._rows])}

    def close(self) -> None:
        pass


class Letters:
    """Counts of four letters."""

    name, modality, width, pools, block_rows = "letters", "lines", 4, ("sum",), 3

    def bind(self, source: Lines, settings: object) -> str:
        return "abcd"

    def embed(self, block: list[str], binding: str, options: object) -> np.ndarray:
        return np.array([[text.count(letter) for letter in binding] for text in block], np.float32)

    def describe(self) -> dict[str, str]:
        return {"kind": "letters"}


def load(path: Path | None = None) -> Letters:
    return Letters()


MODALITY = Modality(
    name="lines",
    recognises=lambda data: isinstance(data, str | Path) and str(data).endswith(".lines"),
    open=lambda data, settings: closing(Lines(data)),
    embedding=RowEmbedding,
    writer=RowWriter(),
)
