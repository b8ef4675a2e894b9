"""Small tables as text: cells x genes with a header, cell names in the first column; or turned.

Values are separated by tabs, commas, semicolons or blanks. Lines that begin with ``#`` are comments.

Dimensions: ``r`` rows and ``c`` columns of values of the text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from biolm.errors import InputError
from biolm.io.cells.bands import Band, BandedRows, sorted_by_cell
from biolm.io.cells.rows import compress
from biolm.io.cells.source import OpenCells, Table, resolve_matrix
from biolm.io.cells.text import TidyLines, first_lines
from biolm.io.unpack import Bounded

__all__ = ["open_file", "open_turned", "recognises"]

SUFFIXES = (".csv", ".tsv", ".txt")
TEXT_BYTES = 1 << 23
COMMENT = "#"
LOOK = 8  # rows that are looked at to tell what the first column is
QUOTED = re.compile(r'"[^"]*"')
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
# What stands above names of cells, case aside, in tables that people have.
TITLES = {
    *("", "barcode", "barcodes", "cell", "cell barcode", "cell id", "cell name", "cell_barcode"),
    *("cell_id", "cell_name", "cell_names", "cellid", "cellname", "cells", "gene", "genes", "id"),
    *("index", "name", "names", "obs_names", "row.names", "rownames", "sample", "sample_id"),
    *("symbol", "unnamed: 0", "v1", "x"),
}


class _Header(NamedTuple):
    """What the first lines of a table say.

    Parameters
    ----------
    names
        Of the columns of values: genes, or cells in a turned table.
    delimiter, decimal
        What separates values, and their whole from their fraction.
    skip
        Lines to skip before the first row of values.
    numbered
        Whether rows have no names.
    turned
        Whether rows are genes.
    """

    names: list[str]
    delimiter: str
    decimal: str
    skip: int
    numbered: bool
    turned: bool


def recognises(path: Path) -> bool:
    """Whether the name says so; text has no mark of its own."""
    return path.is_file() and Path(path.name.removesuffix(".gz")).suffix in SUFFIXES


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open a table; the names are read at once, the values at the first block.

    Parameters
    ----------
    path
        Of the table.
    matrix
        ``X``.

    Raises
    ------
    InputError
        If it has no header or no cells.
    """
    return _open(path, matrix, turned=False)


def open_turned(path: Path, matrix: str) -> OpenCells:
    """Open a table of genes x cells, gene names in the first column.

    Parameters
    ----------
    path
        Of the table.
    matrix
        ``X``.
    """
    return _open(path, matrix, turned=True)


def _open(path: Path, matrix: str, *, turned: bool) -> OpenCells:
    chosen = resolve_matrix(matrix, ["X"], path)
    header = _header(path, turned=turned)
    rows = np.concatenate([np.empty(0, np.str_), *_batches(path, header, names=True)])
    columns = np.array(header.names, dtype=np.str_)
    note = f"{path} has no cell names: its cells are numbered, and its first column is read as a gene"
    if header.numbered:
        rows = np.arange(len(rows)).astype(np.str_)
    cells, genes = (columns, rows) if turned else (rows, columns)
    return OpenCells(
        path=path,
        kind="table",
        matrix=chosen,
        rows=BandedRows((len(cells), len(genes)), partial(_bands, path, header)),
        obs=Table(lambda: cells),
        var=Table(lambda: genes),
        offered=["X"],
        on_close=lambda: None,
        notes=(note,) if header.numbered else (),
    )


def _header(path: Path, *, turned: bool) -> _Header:
    """Look at the first lines."""
    above, *lines = first_lines(path, 1 + LOOK, COMMENT)
    lines = lines or [""]
    delimiter = _delimiter(lines[0] if len(lines) == 1 else lines[1])
    table = [_fields(line, delimiter) for line in lines]
    marked = _fields(above.lstrip(COMMENT), delimiter)
    skip = 1
    if len(marked) > 1 and len(marked) == len(table[0]) and _is_number(table[0][-1]):
        table, skip = [marked, *table], 0
    names, rows = table[0], table[1:]
    if rows and len(rows[0]) == len(names) + 1:  # R writes no name over the first column
        numbered, columns = False, names
    else:
        numbered = not turned and _first_is_gene(names, rows)
        columns = names if numbered else names[1:]
    # Spreadsheets of most of Europe write 1,5 and part columns by semicolons.
    fraction = delimiter == ";" and any("," in field for row in rows for field in row[1:])
    return _Header(columns, delimiter, "," if fraction else ".", skip, numbered, turned)


def _delimiter(line: str) -> str:
    """What separates the values of a row; blanks do where nothing else does."""
    bare = QUOTED.sub("quoted", line).strip(" ")
    # The most frequent: a name of a gene may hold a comma, and quotes were taken out.
    best = max("\t;,", key=bare.count)
    return best if best in bare else (" " if " " in bare else ",")


def _fields(line: str, delimiter: str) -> list[str]:
    """The values of a line, without quotes."""
    if delimiter == " ":
        return next(csv.reader([" ".join(line.split())], delimiter=" "), [])
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]


def _first_is_gene(names: list[str], rows: list[list[str]]) -> bool:
    """Whether the first column holds values: no title of names stands above it, and no names or numbering."""
    first = [row[0] for row in rows if row]
    if not names or names[0].strip().lower() in TITLES or not first:
        return False
    if not all(_is_number(value) for value in first):
        return False
    numbers = [float(value.replace(",", ".")) for value in first]
    # 0, 1, 2 ... is a numbering of the rows, as pandas writes it.
    return len(numbers) < 2 or any(later - sooner != 1 for sooner, later in pairwise(numbers))


def _is_number(text: str) -> bool:
    """Whether text is a number, with a decimal point or comma."""
    return NUMBER.fullmatch(text.strip()) is not None


def _batches(path: Path, header: _Header, *, names: bool) -> Iterator[Any]:
    """Row names ``(r,)``, or values ``(r, c)``, of some rows at a time."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    columns = [f"f{place}" for place in range(len(header.names) + (not header.numbered))]
    wanted = columns[:1] if names else columns[(not header.numbered) :]
    types = dict.fromkeys(wanted, pa.string() if names else pa.float32())
    try:
        with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as stream:
            bounded = Bounded(stream, path.stat().st_size, path)
            lines = TidyLines(bounded, COMMENT.encode(), blanks=header.delimiter == " ")
            reader = arrow_csv.open_csv(
                pa.PythonFile(lines, mode="r"),
                arrow_csv.ReadOptions(
                    use_threads=False, block_size=TEXT_BYTES, skip_rows=header.skip, column_names=columns
                ),
                arrow_csv.ParseOptions(delimiter=header.delimiter),
                arrow_csv.ConvertOptions(
                    column_types=types, include_columns=wanted, decimal_point=header.decimal
                ),
            )
            for batch in reader:
                read = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
                yield read[0].astype(np.str_) if names else np.stack(read, axis=1)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(_complaint(path, header, str(error))) from error


def _bands(path: Path, header: _Header) -> Iterator[Band]:
    """Non-zero values of some rows at a time."""
    from scipy.sparse import csr_array

    first = 0
    for dense in _batches(path, header, names=False):
        if header.turned:
            values, cells, counts = compress(dense)
            spans = np.concatenate([[0], np.cumsum(counts)])
            shape = (dense.shape[1], first + len(dense))
            yield 0, sorted_by_cell(values, cells, spans, first, shape)
        else:
            yield first, csr_array(dense)
        first += len(dense)


def _complaint(path: Path, header: _Header, error: str) -> str:
    """One sentence from an error of the csv reader."""
    if match := re.search(r"column #(\d+): .*invalid value '(.*)'", error):
        name = header.names[int(match[1]) - (not header.numbered)]
        wanted = "genes x cells with the gene names" if header.turned else "cells x genes with the cell names"
        return (
            f"{path} holds {match[2]!r} in column {name!r}, which is not a number; "
            f"give a table of {wanted} in the first column"
        )
    return f"{path} is not a regular table: {error.splitlines()[0]}"
