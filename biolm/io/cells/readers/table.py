"""Small tables as text: cells x genes with a header, cell names in the first column, csv or tsv."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from biolm.errors import InputError
from biolm.io.cells.bands import Band, BandedRows
from biolm.io.cells.source import OpenCells, Table, resolve_matrix

__all__ = ["open_file", "recognises"]

SUFFIXES = (".csv", ".tsv", ".txt")
TEXT_BYTES = 1 << 23


class _Header(NamedTuple):
    """Gene names of the header and what separates them."""

    genes: list[str]
    delimiter: str


def recognises(path: Path) -> bool:
    """Whether the name says so; text has no mark of its own."""
    return path.is_file() and Path(path.name.removesuffix(".gz")).suffix in SUFFIXES


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open a table; the names are read at once, the values at the first block.

    Raises
    ------
    InputError
        If it has no header or no cells.
    """
    chosen = resolve_matrix(matrix, ["X"], path)
    header = _header(path)
    names = np.concatenate([np.empty(0, np.str_), *_batches(path, header, names=True)])
    genes = np.array(header.genes, dtype=np.str_)
    return OpenCells(
        path=path,
        kind="table",
        matrix=chosen,
        rows=BandedRows((len(names), len(genes)), partial(_bands, path, header)),
        obs=Table(lambda: names),
        var=Table(lambda: genes),
        offered=["X"],
        on_close=lambda: None,
    )


def _header(path: Path) -> _Header:
    """Read the first two lines."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            first, second = file.readline(), file.readline()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; check how it was made") from error
    delimiter = "\t" if first.count("\t") >= max(1, first.count(",")) else ","
    names, row = (next(csv.reader([line], delimiter=delimiter), []) for line in (first, second))
    # R writes no name over the first column.
    genes = names if len(row) == len(names) + 1 else names[1:]
    return _Header(genes, delimiter)


def _batches(path: Path, header: _Header, *, names: bool) -> Iterator[Any]:
    """Cell names ``(n,)``, or values ``(n, g)``, of some rows at a time."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    columns = [f"f{place}" for place in range(len(header.genes) + 1)]
    wanted = columns[:1] if names else columns[1:]
    types = dict.fromkeys(wanted, pa.string() if names else pa.float32())
    try:
        with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as stream:
            reader = arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(
                    use_threads=False, block_size=TEXT_BYTES, skip_rows=1, column_names=columns
                ),
                arrow_csv.ParseOptions(delimiter=header.delimiter),
                arrow_csv.ConvertOptions(column_types=types, include_columns=wanted),
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
        yield first, csr_array(dense)
        first += len(dense)


def _complaint(path: Path, header: _Header, error: str) -> str:
    """One sentence from an error of the csv reader."""
    if found := re.search(r"column #(\d+): .*invalid value '(.*)'", error):
        gene = header.genes[int(found[1]) - 1]
        return (
            f"{path} holds {found[2]!r} in column {gene!r}, which is no number; "
            "give a table of cells x genes with the cell names in the first column"
        )
    return f"{path} is not a regular table: {error.splitlines()[0]}"
