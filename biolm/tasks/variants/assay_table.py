"""Tables of variants as text: comma-, tab- or semicolon-separated, in the order of their lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.damage import damage_named
from biolm.io.sequences.stream import open_stream
from biolm.progress import log

__all__ = ["TextTable", "numbers_of", "read_text_table"]


@dataclass(frozen=True, slots=True)
class TextTable:
    """Cells of a table.

    Parameters
    ----------
    name
        The file, for messages.
    header
        Names of its columns.
    rows
        Cells, as many a row as the header has.
    lines
        Number of the line of each row, from 1.
    delimiter
        What stood between cells.
    """

    name: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str

    @property
    def where(self) -> list[str]:
        """Each row's line, for messages."""
        return [f"line {line} of {self.name}" for line in self.lines]

    def columns(self) -> dict[str, NDArray[np.str_]]:
        """Every column as text, by name."""
        return {
            key: np.array([row[place] for row in self.rows], str) for place, key in enumerate(self.header)
        }


@damage_named("the table")
def read_text_table(path: str | Path) -> TextTable:
    """Read a table with a header; what separates its cells is inferred from the header.

    Raises
    ------
    InputError
        If it cannot be read, a row has another number of cells than the header, or a column repeats.
    """
    with open_stream(path) as stream:
        lines = _text(stream.lines(), stream.name)
        first = next(lines, "")
        delimiter = max("\t,;", key=first.count)
        # Several comma-separated mutations are one cell where there is but one column.
        delimiter = delimiter if delimiter in first else "\x1f"
        header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
        reader = csv.reader(lines, delimiter=delimiter)
        rows, places = [], []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"line {reader.line_num + 1} of {stream.name} has {len(row)} cells but the header "
                    f"{len(header)}; correct it"
                )
            rows.append(row)
            places.append(reader.line_num + 1)
    if not rows:
        raise InputError(f"{stream.name} holds no variants; give a table with a header and a row for each")
    if len(set(header)) < len(header):
        raise InputError(f"{stream.name} names a column twice; rename one")
    return TextTable(stream.name, header, rows, places, delimiter)


def numbers_of(table: TextTable, column: str) -> NDArray[np.float64] | None:
    """A column of numbers, NaN where it is empty or not finite; None where there is no such column.

    Parameters
    ----------
    table
        The assay.
    column
        Its name.

    Raises
    ------
    InputError
        If a cell is not a number.
    """
    if column not in table.header:
        return None
    values = np.full(len(table.rows), np.nan)
    infinite = 0
    place = table.header.index(column)
    for row, (cells, where) in enumerate(zip(table.rows, table.where, strict=True)):
        text = cells[place].strip()
        if text.lower() in ("", "na", "nan"):
            continue
        # Semicolons divide cells where the comma is the decimal mark.
        written = text.replace(",", ".") if table.delimiter == ";" else text
        try:
            values[row] = float(written)
        except ValueError:
            raise InputError(f"{where}: {column} {text!r} is not a number; correct it") from None
        if np.isinf(values[row]):
            values[row] = np.nan
            infinite += 1
    if infinite:
        log.warning("%d values of %s are infinite and count as not measured", infinite, column)
    return values


def _text(lines: Iterator[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8") + "\n"
        except UnicodeDecodeError:
            raise InputError(f"line {number} of {name} is not UTF-8 text; save it as CSV again") from None
