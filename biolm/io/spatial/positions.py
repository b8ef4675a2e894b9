"""Space Ranger's table of spot positions, in all its spellings, recognised by content and never by name.

Version 1 has ``tissue_positions_list.csv`` without a header, version 2 ``tissue_positions.csv`` with one (and
pixels that may be fractions), Visium HD ``tissue_positions.parquet``. Users rename files to please old
tools, so only the content counts. The file's columns are row, then column; places here are ``(x, y)``.

Dimensions: ``p`` rows of the table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.damage import damage_named
from biolm.io.spatial.joins import as_text

__all__ = ["Positions", "find_positions", "read_positions"]

COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")


@dataclass(frozen=True, slots=True)
class Positions:
    """Where spots lie.

    Parameters
    ----------
    names
        ``(p,)`` barcodes.
    xy
        ``(p, 2)`` pixels of the full-resolution image, x first.
    columns
        ``in_tissue``, ``array_row`` and ``array_col``, ``(p,)`` int64 each.
    header
        Whether the table has a header; a Parquet table always does.
    """

    names: NDArray[np.str_]
    xy: NDArray[np.float64]
    columns: dict[str, NDArray[np.int64]]
    header: bool


def find_positions(folder: Path) -> Path:
    """The table of positions in a ``spatial`` folder.

    Raises
    ------
    InputError
        If there is none.
    """
    files = sorted(path for path in folder.glob("*tissue_positions*") if path.is_file())
    if not files:
        raise InputError(f"{folder} holds no table of tissue positions (.csv or .parquet); copy it there")
    # Parquet first: beside it users keep a csv that they wrote themselves.
    return min(files, key=lambda path: (not _is_parquet(path), path.name))


@damage_named("the table of positions")
def read_positions(path: Path) -> Positions:
    """Read a table of positions.

    Raises
    ------
    InputError
        If it has other columns, or values that are not numbers.
    """
    table, header = _read_parquet(path) if _is_parquet(path) else _read_csv(path)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; give Space Ranger's own table")
    try:
        numbers = {name: np.asarray(table[name], np.float64) for name in COLUMNS[1:]}
    except ValueError as error:
        raise InputError(f"{path} holds text where positions are wanted ({error}); copy it again") from error
    # x is the column; taking the row for it mirrors the section without any error.
    xy = np.stack((numbers["pxl_col_in_fullres"], numbers["pxl_row_in_fullres"]), 1)
    columns = {name: numbers[name].astype(np.int64) for name in COLUMNS[1:4]}
    return Positions(as_text(np.asarray(table["barcode"], object)), xy, columns, header)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _read_parquet(path: Path) -> tuple[dict[str, NDArray[Any]], bool]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is no whole Parquet file ({error}); copy it again") from error
    return {name: table[name].to_numpy() for name in table.column_names}, True


def _read_csv(path: Path) -> tuple[dict[str, NDArray[Any]], bool]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines or len({len(line) for line in lines}) != 1:
        raise InputError(
            f"{path} is no table of positions: its lines have different lengths or there are none"
        )
    # Space Ranger before 2.0 writes no header.
    header = not all(_is_number(text) for text in lines[0][1:])
    names = lines[0] if header else list(COLUMNS[: len(lines[0])])
    if len(names) != len(lines[0]):
        raise InputError(f"{path} has {len(lines[0])} columns without names where 6 are wanted")
    columns = zip(*lines[int(header) :], strict=True)
    return {name.strip(): np.array(column) for name, column in zip(names, columns, strict=True)}, header


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
