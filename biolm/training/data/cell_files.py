"""Files of cells by number, each opened once for all passes: genes, medians, lengths, labels, steps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from biolm.adapters.cells.counts import watch_counts
from biolm.errors import InputError
from biolm.io.cells import CellSource, open_cells
from biolm.options import spelled

__all__ = ["CellFiles", "in_settings", "naming_file"]

# Files that a process keeps open at a time: systems allow 256 to 1,024, and workers and logs need some.
_OPEN = 32

# Other commands' options, as the settings of a run.
_HERE = {"known to the model": "known"}


class CellFiles:
    """Open files of cells, at most 32 at a time in each process; the others are opened again when read.

    Parameters
    ----------
    paths
        The files.
    matrix
        Which matrix of each.
    counts
        Whether a cell whose values are no counts is refused when it is read.
    """

    def __init__(self, paths: Sequence[Path], *, matrix: str = "X", counts: bool = False) -> None:
        self.paths, self.matrix, self.counts = list(paths), matrix, counts
        self._open: dict[int, CellSource] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.paths)

    def __getstate__(self) -> dict[str, Any]:
        # Open HDF5 files cannot be pickled for workers; these open them anew.
        return {**self.__dict__, "_open": {}}

    def source(self, number: int) -> CellSource:
        """An open file; each process opens its own, as HDF5 handles do not survive a fork."""
        if self._process != os.getpid():
            self._open, self._process = {}, os.getpid()
        source = self._open.pop(number, None)
        if source is None:
            if len(self._open) >= _OPEN:
                # The one that was not used for longest.
                self._open.pop(next(iter(self._open))).close()
            source = open_cells(self.paths[number], matrix=self.matrix)
            if self.counts:
                watch_counts(source)
        self._open[number] = source
        return source

    def each(self) -> Iterator[tuple[Path, CellSource]]:
        """Path and open file, one after the other."""
        for number, path in enumerate(self.paths):
            yield path, self.source(number)

    def close(self) -> None:
        """Close the files of this process."""
        for source in self._open.values():
            source.close()
        self._open = {}


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Let an error in the content of a file say which it is, and what to set here.

    Raises
    ------
    InputError
        In place of one that was raised inside; a :class:`~biolm.errors.GeneMatchError` stays one.
    """
    try:
        yield
    except InputError as error:
        text = spelled(str(error), in_settings)
        for word, here in _HERE.items():
            text = text.replace(word, here)
        raise type(error)(text if str(path) in text else f"{path}: {text}") from error


def in_settings(name: str, value: str | None) -> str:
    """An option in a message, as the settings of a run write it.

    Parameters
    ----------
    name
        Of the option.
    value
        That it is given, None for none.
    """
    return f"data.{name}" if value is None else f"data.{name}: {value.lower() if value == 'True' else value}"
