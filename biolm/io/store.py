"""A folder of flat arrays that are mapped, not loaded: rows of any length, read in any order.

Dimensions: ``n`` rows · ``v`` values of all rows.

``offsets.npy`` ``(n + 1,)`` int64 says where each row begins; every column is a file ``NAME.bin`` of ``(v,)``
items; ``store.json`` says what the rows are, the number type of each column, and where they came from. A
store is filled in a folder beside its place, so that it appears whole; a writer that was killed goes on
after the last block that it finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.contained import member_of
from biolm.io.damage import naming_damage
from biolm.io.digests import check_digests, check_facts, digests_of, sealed
from biolm.io.json_file import read_json

__all__ = ["FORMAT_VERSION", "StoreWriter", "read_facts", "read_offsets", "store_kind"]

FORMAT_VERSION = 1
_FACTS, _STATE, _LENGTHS = "store.json", "state.json", "lengths.bin"
_PIECE = 1 << 22
_ADVICE = "pack it again"


def store_kind(path: Path) -> str | None:
    """What the rows of a store are; None for anything that is no store."""
    try:
        metadata = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        return str(metadata["kind"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_facts(path: Path) -> dict[str, Any]:
    """What ``store.json`` says, after a look at the sizes of the arrays.

    Raises
    ------
    InputError
        If the store is of a later version or not whole.
    """
    with naming_damage(path, _FACTS, advice=_ADVICE):
        metadata = check_facts(read_json(path / _FACTS), path / _FACTS, advice=_ADVICE)
        if metadata["format_version"] > FORMAT_VERSION:
            raise InputError(f"{path} was written by a later biolm; update biolm to read it")
        for name, kind in metadata["columns"].items():
            file = member_of(path, f"{name}.bin")
            if not file.is_file() or file.stat().st_size != metadata["values"] * np.dtype(kind).itemsize:
                raise InputError(f"{path} is damaged: {file.name} is missing or cut short; pack it again")
    check_digests(path, metadata.get("digests"), advice=_ADVICE)
    return metadata


def read_offsets(path: Path, rows: int, values: int) -> NDArray[np.int64]:
    """``(n + 1,)`` where each row of a store begins.

    Parameters
    ----------
    path
        The folder.
    rows, values
        How many there are.

    Raises
    ------
    InputError
        If they do not rise from 0 to the number of values.
    """
    with naming_damage(path, "offsets.npy", advice=_ADVICE):
        offsets: NDArray[np.int64] = np.load(path / "offsets.npy", allow_pickle=False)
        ends = (int(offsets[0]), int(offsets[-1]))
        if offsets.shape != (rows + 1,) or ends != (0, values) or (np.diff(offsets) < 0).any():
            raise ValueError(f"they do not part {values} values into {rows} rows")
    return offsets


class StoreWriter:
    """Fills the arrays of a store block by block.

    Parameters
    ----------
    folder
        Where they are written; made if it is not there. State that an earlier writer left is gone on from.
    columns
        Number type of each column.
    """

    def __init__(self, folder: Path, columns: Mapping[str, Any]) -> None:
        self.folder = folder
        self.rows = self.values = 0
        self.columns = {name: np.dtype(kind) for name, kind in columns.items()}
        folder.mkdir(exist_ok=True)
        if (folder / _STATE).exists():
            state = json.loads((folder / _STATE).read_text())
            self.rows, self.values = state["rows"], state["values"]
            self.columns = {name: np.dtype(kind) for name, kind in state["columns"].items()}
            self._restore()
        for path, size in self._sizes().items():
            with path.open("ab") as file:
                # What a killed writer left behind the last whole block.
                file.truncate(size)

    def _restore(self) -> None:
        """Arrays as the last writer knew them; from the start if one was lost."""
        for name in self.columns:
            final = self.folder / f"{name}.bin"
            if final.exists():
                final.replace(self._file(name))
        sizes = [path.stat().st_size if path.exists() else 0 for path in self._sizes()]
        if any(size < needed for size, needed in zip(sizes, self._sizes().values(), strict=True)):
            self.rows = self.values = 0

    def _file(self, name: str) -> Path:
        """The type stands in the name, so that a column that is being widened is never mistaken."""
        return self.folder / f"{name}.{self.columns[name].name}.part"

    def _sizes(self) -> dict[Path, int]:
        columns = {self._file(name): self.values * kind.itemsize for name, kind in self.columns.items()}
        return {**columns, self.folder / _LENGTHS: 8 * self.rows}

    def append(self, lengths: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> None:
        """Write a block of rows; a column becomes wide enough for its values' type.

        Parameters
        ----------
        lengths
            ``(n,)`` values of each row.
        columns
            ``(v,)`` items of each column, row after row.
        """
        for name, items in columns.items():
            self._widen(name, np.result_type(self.columns[name], items.dtype))
            with self._file(name).open("ab") as file:
                file.write(np.ascontiguousarray(items, self.columns[name]).data)
        with (self.folder / _LENGTHS).open("ab") as file:
            file.write(np.ascontiguousarray(lengths, np.int64).data)
        self.rows += len(lengths)
        self.values += int(lengths.sum())
        self._remember()

    def _remember(self) -> None:
        """Note how far the arrays are whole; what lies beyond is cut off by the next writer."""
        kinds = {name: kind.str for name, kind in self.columns.items()}
        state = {"rows": self.rows, "values": self.values, "columns": kinds}
        fresh = self.folder / f"{_STATE}.new"
        fresh.write_text(json.dumps(state))
        # Through another name: a state that is cut off would lose all that was packed.
        fresh.replace(self.folder / _STATE)

    def _widen(self, name: str, kind: np.dtype[Any]) -> None:
        """Write the finished items of a column again in a wider type."""
        if kind == self.columns[name]:
            return
        old = self._file(name)
        shape = (self.values,)
        narrow = np.memmap(old, self.columns[name], "r", shape=shape) if self.values else np.empty(0)
        self.columns[name] = kind
        with self._file(name).open("wb") as file:
            for start in range(0, self.values, _PIECE):
                file.write(np.asarray(narrow[start : start + _PIECE], kind).data)
        self._remember()
        # The old column goes last: a kill before leaves it, and the state says which of the two counts.
        old.unlink()

    def finish(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Name the arrays as readers expect them and write ``store.json``.

        Parameters
        ----------
        kind
            What the rows are.
        facts
            Further entries of ``store.json``.
        """
        lengths = np.fromfile(self.folder / _LENGTHS, np.int64)
        np.save(self.folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        record = {
            "kind": kind,
            "format_version": FORMAT_VERSION,
            "rows": self.rows,
            "values": self.values,
            "columns": {name: column.str for name, column in self.columns.items()},
            **facts,
        }
        for name in self.columns:
            self._file(name).replace(self.folder / f"{name}.bin")
        files = [f"{name}.bin" for name in self.columns] + ["offsets.npy"]
        files += [file.name for file in self.folder.glob("*.parquet")]
        record = sealed({**record, "digests": digests_of(self.folder, files)})
        (self.folder / _FACTS).write_text(
            json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        for name in (_STATE, _LENGTHS):
            (self.folder / name).unlink(missing_ok=True)
