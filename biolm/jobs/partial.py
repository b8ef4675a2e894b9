"""The unfinished state of a job: vectors land here block by block until the output is whole.

Dimensions: ``n`` rows (cells, sequences) · ``d`` width of the embedding · ``k`` blocks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import OutputError
from biolm.io.atomic import remove, writing
from biolm.io.provenance import plain
from biolm.progress import log

__all__ = ["Partial"]


class Partial:
    """The folder ``OUTPUT.partial``: finished vectors, and what job they belong to.

    A job that is killed leaves it behind, and the same job can go on from it. A job that fails
    removes it, unless it was itself resuming one.

    Parameters
    ----------
    output
        The output of the job.
    facts
        What makes two jobs the same: input, model, options.
    shape
        ``(n, d)`` of the result.
    step
        Rows of one block; or, where blocks differ, ``(k + 1,)`` the rows at which they begin and end.
    """

    def __init__(
        self, output: Path, facts: dict[str, Any], shape: tuple[int, int], step: int | NDArray[np.int64]
    ) -> None:
        self.folder = output.with_name(f"{output.name}.partial")
        self.done = 0
        self._output = output
        self._facts = plain(facts)
        self._shape = shape
        self._step = step
        self._keep = False

    @property
    def _file(self) -> Path:
        return self.folder / "vectors.f32"

    def open(self, *, resume: bool, overwrite: bool) -> Partial:
        """Start, or find out how far an earlier run came.

        Raises
        ------
        OutputError
            If there is an unfinished run and neither ``resume`` nor ``overwrite`` is set, or if the
            unfinished run was another job.
        """
        if self.folder.exists() and not resume:
            if not overwrite:
                raise OutputError(
                    f"{self.folder} holds an unfinished run; go on with it (--resume) "
                    "or start again (--overwrite)"
                )
            remove(self.folder)
        if self.folder.exists():
            self._check()
            self._keep = True
            rows = self._file.stat().st_size // self._row_bytes if self._file.exists() else 0
            # A block that was being written when the job died is done again.
            self.done = rows if rows == self._shape[0] else self._whole(rows)
            log.info("going on after %s of %s rows", f"{self.done:,}", f"{self._shape[0]:,}")
        with writing(self._output):
            self.folder.mkdir(exist_ok=True)
            self._record.write_text(json.dumps(self._facts, indent=1, sort_keys=True))
            with self._file.open("ab") as file:
                file.truncate(self.done * self._row_bytes)
        return self

    def _whole(self, rows: int) -> int:
        """Rows of finished blocks among those that were written."""
        if isinstance(self._step, int):
            return rows // self._step * self._step
        return int(self._step[np.searchsorted(self._step, rows, side="right") - 1])

    @property
    def _record(self) -> Path:
        return self.folder / "job.json"

    @property
    def _row_bytes(self) -> int:
        return 4 * self._shape[1]

    def _check(self) -> None:
        """Refuse to go on with another job, naming what differs."""
        try:
            before = json.loads(self._record.read_text())
        except (OSError, ValueError):
            before = {}
        names = [name for name, value in self._facts.items() if before.get(name) != value]
        if names:
            raise OutputError(
                f"{self.folder} belongs to another job ({' and '.join(names)} differ); "
                "start again with --overwrite or choose another output"
            )

    def append(self, vectors: NDArray[np.float32]) -> None:
        """Land the vectors of the next block."""
        with writing(self._output), self._file.open("ab") as file:
            file.write(np.ascontiguousarray(vectors, "<f4").data)
        self.done += len(vectors)

    def vectors(self) -> NDArray[np.float32]:
        """All of ``(n, d)``, mapped from the file."""
        return np.memmap(self._file, np.float32, mode="r", shape=self._shape)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        if kind is None or not (self.done and (interrupted or self._keep)):
            remove(self.folder)
        else:
            # Of the output itself nothing half-written stays.
            for path in self.folder.glob("output*"):
                remove(path)
