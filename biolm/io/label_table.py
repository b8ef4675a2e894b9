"""Tables that label records, one row each, the name first; or strings of labels as FASTA.

Dimensions: ``n`` records.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.damage import damage_named
from biolm.io.unpack import open_gzip

__all__ = ["STRINGS", "LabelTable", "read_label_table"]

WHOLE = re.compile(r"-?\d+\.0")
STRINGS = "labels"
"""Name of the only column of a FASTA-like file: the string of labels of each record."""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Columns that are in the order of the records.

    Parameters
    ----------
    path
        The file.
    columns
        By name, ``(n,)`` text; '' where a record has no row or an empty cell.
    """

    path: Path
    columns: Mapping[str, NDArray[np.str_]]

    def column(self, name: str) -> NDArray[np.str_]:
        """One column.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        if name not in self.columns:
            raise InputError(
                f"{self.path} has no column {name!r}; it has {', '.join(self.columns) or 'none'}"
            )
        return self.columns[name]


@damage_named("the labels")
def read_label_table(path: str | Path, names: Sequence[str]) -> LabelTable:
    """Read a table and put its rows in the order of some records.

    Rows follow the records where both are as many and named alike one by one, so that names may repeat;
    else they are found by name. Records that the table does not name have no label.

    Parameters
    ----------
    path
        A tab- or comma-separated table, with a header, names in the first column; or ``>name`` lines each
        followed by a string of labels. ``.gz`` or not.
    names
        ``n`` names of the records.

    Raises
    ------
    InputError
        If it cannot be read, names none of the records, or labels a name twice in two ways.
    """
    place = Path(path).expanduser()
    header, rows = _rows(place)
    given = [row[0] for row in rows]
    # The same order with repeated names is matched row by row, which names alone could not do.
    order = np.arange(len(rows)) if given == list(names) else _by_name(place, rows, names)
    columns = {}
    for number, name in enumerate(header[1:], 1):
        values = _as_whole([row[number].strip() if number < len(row) else "" for row in rows] + [""])
        columns[name] = values[order]
    return LabelTable(place, columns)


def _as_whole(values: list[str]) -> NDArray[np.str_]:
    """Whole numbers that were written with '.0' throughout, as where one is missing, without it."""
    filled = [value for value in values if value]
    # pandas writes whole numbers so where one of the column is missing.
    floats = all(WHOLE.fullmatch(value) for value in filled)
    return np.array([value.removesuffix(".0") for value in values] if floats else values, dtype=np.str_)


def _by_name(path: Path, rows: list[list[str]], names: Sequence[str]) -> NDArray[np.int64]:
    """Row of each record, -1 (an empty one) where there is none."""
    row_of: dict[str, int] = {}
    for number, row in enumerate(rows):
        # Repeats that agree are harmless: tables are joined and exported twice.
        first = row_of.setdefault(row[0], number)
        if rows[first] != row:
            raise InputError(
                f"{path} labels {row[0]!r} twice in two ways (rows {first + 1} and {number + 1}); "
                "give each record one row, or a row for every record in their order"
            )
    order = np.array([row_of.get(name, -1) for name in names], np.int64)
    if not (order >= 0).any():
        raise InputError(
            f"{path} names none of the {len(names)} records; its first column must be their names, "
            f"such as {names[0]!r}, not {next((row[0] for row in rows if row[0]), '')!r}"
        )
    return order


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, at least one."""
    try:
        with open_gzip(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"the labels {path} cannot be read; give a tab- or comma-separated table") from error
    if text.startswith(">"):
        records = [entry.splitlines() for entry in text[1:].split("\n>")]
        rows = [[lines[0].split()[0], "".join(lines[1:]).strip()] for lines in records if lines[0].split()]
        return ["name", STRINGS], rows
    first = text.partition("\n")[0]
    table = [row for row in csv.reader(text.splitlines(), delimiter="\t" if "\t" in first else ",") if row]
    if len(table) < 2 or len(table[0]) < 2:
        raise InputError(f"{path} holds no labels; give a header and rows with a name and labels in each")
    return table[0], table[1:]
