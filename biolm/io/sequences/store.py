"""Sequences behind a memory map: a genome, or the records of many files, read by window in microseconds.

Dimensions: ``n`` records · ``r`` letters of all of them · ``b`` windows · ``w`` letters of a window.

A store is a folder: ``letters.bin`` (uint8 ASCII, as in the source), ``offsets.npy``, ``names.txt`` and
``store.json``. It is written once, whole or not at all, and mapped, never loaded. An open store may be
sent to worker processes: each maps the file for itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, InputError
from biolm.io.atomic import replacing
from biolm.io.damage import naming_damage
from biolm.io.digests import check_digests, check_facts, digests_of, sealed
from biolm.io.json_file import read_json
from biolm.io.sequences.block import SequenceBlock, SequenceSource
from biolm.io.sequences.contigs import find_contig
from biolm.io.sequences.letters import reverse_complement
from biolm.io.store import read_offsets, store_kind
from biolm.io.whole import check_whole
from biolm.progress import progress, speaks

__all__ = ["SequenceStore", "build_store", "holds_store"]

FORMAT_VERSION = 1
_KIND = "biolm-sequences"
_GAP = ord("N")


def holds_store(path: Path) -> bool:
    """Whether a folder is a store of sequences."""
    return store_kind(path) == _KIND


def build_store(
    sources: Iterable[SequenceSource], folder: str | Path, *, overwrite: bool = False, repeats: bool = True
) -> Path:
    """Write the records of open sequence files, in order, into a new store.

    Parameters
    ----------
    sources
        Files; each is read once, in blocks.
    folder
        Of the store.
    overwrite
        Whether an existing store may be replaced.
    repeats
        Whether several records may have one name.

    Raises
    ------
    OutputError
        If the folder exists or cannot be written.
    InputError
        If a source cannot be read, or a name repeats that must not.
    """
    target = Path(folder)
    seen: set[str] = set()
    with replacing(target, overwrite=overwrite) as temporary:
        temporary.mkdir()
        lengths = [np.zeros(1, np.int64)]
        letters, names = temporary / "letters.bin", temporary / "names.txt"
        with (
            letters.open("wb") as letter_file,
            names.open("w", encoding="utf-8") as name_file,
            progress("copying sequences", None, show=speaks(), unit="records") as advance,
        ):
            for source in sources:
                for block in source.blocks():
                    for name in () if repeats else block.names:
                        if name in seen:
                            raise InputError(
                                f"several records are named {name!r}, again in {source.path}; rename them, "
                                "or take them as they come (`duplicates='keep'`)"
                            )
                        seen.add(name)
                    letter_file.write(np.ascontiguousarray(block.letters).data)
                    name_file.writelines(f"{name}\n" for name in block.names)
                    lengths.append(block.lengths)
                    advance(len(block.lengths))
        offsets = np.cumsum(np.concatenate(lengths))
        np.save(temporary / "offsets.npy", offsets)
        metadata = {
            "kind": _KIND,
            "format_version": FORMAT_VERSION,
            "records": len(offsets) - 1,
            "letters": int(offsets[-1]),
        }
        metadata["digests"] = digests_of(temporary, ["letters.bin", "names.txt", "offsets.npy"])
        (temporary / "store.json").write_text(json.dumps(sealed(metadata), indent=1) + "\n", encoding="utf-8")
    return target


@dataclass
class SequenceStore:
    """An open store.

    Parameters
    ----------
    folder
        As :func:`build_store` wrote it.
    label
        Names it in messages, where not by its folder.

    Raises
    ------
    CheckpointError
        If the folder is no store, or of a later version.

    Examples
    --------
    >>> store = SequenceStore("hg38.store")  # doctest: +SKIP
    >>> store.window("chr7", 5_530_600, 5_531_600).tobytes()  # doctest: +SKIP
    """

    folder: Path
    label: str = ""
    _letters: NDArray[np.uint8] | None = field(default=None, repr=False)
    _offsets: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        metadata = read_json(self.folder / "store.json")
        if metadata.get("kind") != _KIND:
            raise CheckpointError(f"{self.folder} is no store of sequences; build one with biolm pack")
        with naming_damage(self.folder, "store.json", CheckpointError, "pack it again"):
            metadata = check_facts(metadata, self.folder / "store.json", CheckpointError, "pack it again")
            if metadata["format_version"] > FORMAT_VERSION:
                raise CheckpointError(f"{self.folder} was written by a later biolm; update biolm to read it")
            check_digests(self.folder, metadata.get("digests"), CheckpointError, "pack it again")
            self._offsets = read_offsets(self.folder, int(metadata["records"]), int(metadata["letters"]))
            if len(self.names) != len(self):
                raise CheckpointError(f"{self.folder} is damaged: names.txt names others; pack it again")

    def __getstate__(self) -> dict[str, Any]:
        # Workers map the letters anew instead of being sent a genome.
        return {"folder": self.folder, "label": self.label, "_letters": None, "_offsets": self._offsets}

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def offsets(self) -> NDArray[np.int64]:
        """``(n + 1,)`` where each record begins."""
        return self._offsets

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(n,)`` letters of each record."""
        return np.diff(self.offsets)

    @cached_property
    def names(self) -> list[str]:
        """``n`` names."""
        return (self.folder / "names.txt").read_text(encoding="utf-8").split("\n")[:-1]

    @cached_property
    def _rows(self) -> dict[str, int]:
        # Backwards, so that the first of several records of a name is found.
        return {name: row for row, name in reversed(list(enumerate(self.names)))}

    @cached_property
    def repeated(self) -> frozenset[str]:
        """Names that several records have, so that none of these can be found by its name."""
        return frozenset(name for name, count in Counter(self.names).items() if count > 1)

    @property
    def letters(self) -> NDArray[np.uint8]:
        """``(r,)`` letters of all records, mapped."""
        if self._letters is None:
            # A plain array over the map: slicing np.memmap itself takes several times longer.
            size = int(self.offsets[-1])
            self._letters = np.asarray(np.memmap(self.folder / "letters.bin", np.uint8, "r", shape=(size,)))
        check_whole(self.folder / "letters.bin", len(self._letters))
        return self._letters

    def row(self, name: str) -> int:
        """Number of a record; ``1`` and ``chr1``, ``MT`` and ``chrM`` are the same.

        Raises
        ------
        InputError
            If there is none of that name, or several.
        """
        place = self.label or str(self.folder)
        known = name if name in self._rows else find_contig(name, self._rows, place)
        if known in self.repeated:
            raise InputError(f"{place} has several records named {known!r}; rename them, or keep one")
        return self._rows[known]

    def record(self, row: int) -> NDArray[np.uint8]:
        """Letters of one record, a view of the map."""
        return self.letters[self.offsets[row] : self.offsets[row + 1]]

    def window(self, name: str, start: int, end: int, *, reverse: bool = False) -> NDArray[np.uint8]:
        """Letters ``start`` to ``end`` of a record, from 0, N where it has none.

        Parameters
        ----------
        name
            Of the record.
        start, end
            Half-open, as in BED; they may lie outside the record.
        reverse
            Return the reverse complement.

        Raises
        ------
        InputError
            If there is no such record, or ``end`` is before ``start``.
        """
        if end < start:
            raise InputError(f"the window {name}:{start}-{end} ends before it begins")
        row = self.row(name)
        first, last = int(self.offsets[row]), int(self.offsets[row + 1])
        inner = self.letters[first + max(start, 0) : min(max(first + end, first), last)]
        if len(inner) < end - start:
            whole = np.full(end - start, _GAP, np.uint8)
            place = min(max(-start, 0), len(whole) - len(inner))
            whole[place : place + len(inner)] = inner
            inner = whole
        return reverse_complement(inner) if reverse else inner

    def block(
        self, rows: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> SequenceBlock:
        """Pieces of records, each inside its own, as a block; they are named by record number, from 1.

        Parameters
        ----------
        rows, starts, ends
            ``(b,)`` record of each piece, its first letter and its end there.
        """
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        begin = self.offsets[rows] + starts
        out, stored = np.empty(offsets[-1], np.uint8), self.letters
        for place, (first, length) in enumerate(zip(begin.tolist(), (ends - starts).tolist(), strict=True)):
            out[offsets[place] : offsets[place] + length] = stored[first : first + length]
        names = [str(row + 1) for row in rows.tolist()]
        return SequenceBlock(names, [""] * len(names), out, offsets)
