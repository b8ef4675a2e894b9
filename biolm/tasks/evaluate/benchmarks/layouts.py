"""Folders of published benchmarks: which data sets they hold, and the labelled sequences of each.

Genomic Benchmarks, as the package ``genomic_benchmarks`` lays its sets down: ``SET/train/CLASS/*.txt`` and
``SET/test/CLASS/*.txt``, one sequence a file. GUE: ``TASK/SET/train.csv``, ``dev.csv``, ``test.csv`` with
columns ``sequence`` and ``label``. Nucleotide Transformer: ``SET/train.fna`` and ``SET/test.fna`` with
headers ``>name|label``, or CSV or parquet with ``sequence``, ``name``, ``label`` and perhaps ``task``.
ProteinGym: one CSV an assay, and a table of assays with ``DMS_filename`` and ``target_seq``.

Dimensions: ``n`` sequences.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.sequences import SequenceBlock, concatenate_blocks, open_sequences
from biolm.io.unpack import open_gzip

__all__ = ["BENCHMARKS", "Assays", "Found", "Labelled", "find_assays", "find_sets"]

BENCHMARKS = {
    "genomic": "Genomic Benchmarks",
    "gue": "GUE",
    "nt": "Nucleotide Transformer benchmark",
    "proteingym": "ProteinGym",
}
"""Names of the layouts."""

_FASTA = (".fna", ".fa", ".fasta")
_TABLES = (".csv", ".tsv")
_REFERENCES = ("DMS_substitutions.csv", "ProteinGym_reference_file_substitutions.csv")


@dataclass(frozen=True, slots=True)
class Labelled:
    """Sequences with a label each.

    Parameters
    ----------
    block
        ``n`` sequences.
    labels
        ``(n,)`` names of classes.
    """

    block: SequenceBlock
    labels: NDArray[np.str_]

    def take(self, rows: NDArray[np.int64]) -> Labelled:
        """Some of them."""
        return Labelled(self.block.take(rows), self.labels[rows])


@dataclass(frozen=True, slots=True)
class Found:
    """A data set with its published split.

    Parameters
    ----------
    layout
        A key of :data:`BENCHMARKS`.
    name
        Where it lies in the folder, such as ``EMP/H3``.
    train, test
        Folders of classes, or files.
    task
        Value of the column ``task`` that belongs to it; '' where a file holds one set.
    """

    layout: str
    name: str
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    task: str = ""

    def read(self, side: str) -> Labelled:
        """The sequences of ``train`` or ``test``.

        Raises
        ------
        InputError
            If there is none, or a file cannot be read.
        """
        paths = self.train if side == "train" else self.test
        pairs = [pair for path in paths for pair in _readable(path, self.task)]
        if not pairs:
            raise InputError(f"{self.name} holds no {side} sequence; copy the benchmark again")
        names = [f"{side}{number}" for number in range(1, len(pairs) + 1)]
        labels = np.array([label for _, label in pairs], str)
        return Labelled(SequenceBlock.of([text for text, _ in pairs], names), labels)


@dataclass(frozen=True, slots=True)
class Assays:
    """The assays of ProteinGym that lie in a folder.

    Parameters
    ----------
    reference
        Its table of assays.
    rows
        Of each assay that is there: its file and its row of the table.
    """

    reference: Path
    rows: tuple[tuple[Path, dict[str, str]], ...]


def find_sets(folder: Path) -> list[Found]:
    """Data sets with a published split, in and below a folder, by name.

    Raises
    ------
    InputError
        If the folder does not exist, or a file that names a set cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give the one that holds the benchmark")
    sets = [each for place in _folders(folder) for each in _sets_of(place, folder)]
    return sorted(sets, key=lambda each: each.name)


def find_assays(folder: Path) -> Assays | None:
    """Assays of ProteinGym in and below a folder; None where its table is not.

    Raises
    ------
    InputError
        If the table lacks a column, or none of its assays is there.
    """
    tables = [path for path in sorted(folder.rglob("*.csv")) if path.name in _REFERENCES]
    if not tables:
        return None
    with tables[0].open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for column in ("DMS_filename", "target_seq"):
        if rows and column not in rows[0]:
            raise InputError(f"{tables[0]} has no column {column}; copy ProteinGym's table of assays again")
    # Reversed, so that of two files of one name the first is taken.
    files = {path.name: path for path in sorted(folder.rglob("*.csv"), reverse=True)}
    listed = [(files[row["DMS_filename"]], row) for row in rows if row["DMS_filename"] in files]
    if not listed:
        raise InputError(f"{folder} holds {tables[0].name} but none of its {len(rows)} assays; add their CSV")
    return Assays(tables[0], tuple(listed))


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and those below it; the many files of classes are not looked at."""
    yield folder
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        if place.name not in ("train", "test") or not _classes(place):
            yield from _folders(place)


def _sets_of(place: Path, top: Path) -> list[Found]:
    name = place.relative_to(top).as_posix()
    name = top.resolve().name if name == "." else name
    if _classes(place / "train") and _classes(place / "test"):
        return [Found("genomic", name, (place / "train",), (place / "test",))]
    files = sorted(path for path in place.iterdir() if path.is_file())
    train, test = (
        tuple(path for path in files if path.name.split(".")[0].split("-")[0] == side and _ending(path))
        for side in ("train", "test")
    )
    if not train or not test:
        return []
    kind = _ending(train[0])
    if kind == ".parquet":
        # Hugging Face keeps its parquet in a folder called data.
        named = name.removesuffix("/data")
        tasks = sorted(set(_column(test, "task")))
        own = [Found("nt", f"{named}/{task}", train, test, task=task) for task in tasks]
        return own or [Found("nt", named, train, test)]
    # GUE's tables have sequence and label alone.
    layout = "nt" if kind in _FASTA or "name" in _header(train[0]) else "gue"
    return [Found(layout, name, train, test)]


def _classes(folder: Path) -> list[Path]:
    """Folders of a side, one a class, that hold sequences as ``.txt``."""
    if not folder.is_dir():
        return []
    places = sorted(path for path in folder.iterdir() if path.is_dir())
    return [place for place in places if any(place.glob("*.txt"))]


def _ending(path: Path) -> str:
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    return ending if ending in (*_FASTA, *_TABLES, ".parquet") else ""


def _readable(path: Path, task: str) -> Iterator[tuple[str, str]]:
    try:
        yield from _pairs(path, task)
    except UnicodeDecodeError:
        raise InputError(f"{path} holds text that is not UTF-8; copy the benchmark again") from None


def _pairs(path: Path, task: str) -> Iterator[tuple[str, str]]:
    """Sequence and label of every record of one side."""
    if path.is_dir():
        for place in _classes(path):
            for file in sorted(place.glob("*.txt")):
                yield file.read_text(encoding="ascii").strip(), place.name
    elif _ending(path) in _FASTA:
        yield from _fasta_pairs(path)
    elif _ending(path) == ".parquet":
        columns = [_column((path,), name) for name in ("sequence", "label", "task" if task else "label")]
        for text, label, own in zip(*columns, strict=True):
            if not task or own == task:
                yield text, label
    else:
        yield from _table_pairs(path)


def _fasta_pairs(path: Path) -> Iterator[tuple[str, str]]:
    with open_sequences(path) as source:
        block = concatenate_blocks(list(source.blocks()))
    for row, name in enumerate(block.names):
        _, mark, label = name.rpartition("|")
        if not mark or not label:
            raise InputError(f"record {name!r} of {path} names no class; headers end in |label")
        yield block.text(row), label


def _table_pairs(path: Path) -> Iterator[tuple[str, str]]:
    for column in ("sequence", "label"):
        if column not in _header(path):
            raise InputError(f"{path} has no column {column}; it has {', '.join(_header(path)[:6])}")
    with open_gzip(path, newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter=_delimiter(path)), start=2):
            if not row["sequence"] or not row["label"]:
                raise InputError(f"line {number} of {path} lacks its sequence or label; copy the file again")
            yield row["sequence"].strip(), row["label"].strip()


def _header(path: Path) -> list[str]:
    with open_gzip(path, newline="", encoding="utf-8-sig") as file:
        return next(csv.reader(file, delimiter=_delimiter(path)), [])


def _delimiter(path: Path) -> str:
    return "\t" if _ending(path) == ".tsv" else ","


def _column(paths: tuple[Path, ...], name: str) -> list[str]:
    """A column of parquet files as text; empty where they have none of the name."""
    import pyarrow.parquet as pq

    values: list[str] = []
    for path in paths:
        if name not in pq.read_schema(path).names:
            if name == "task":
                return []
            raise InputError(f"{path} has no column {name}; copy the benchmark again")
        values += [str(value) for value in pq.read_table(path, columns=[name])[name].to_pylist()]
    return values
