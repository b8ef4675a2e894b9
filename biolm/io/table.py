"""Tables of results: Parquet with its provenance inside, or text with a JSON file beside it (``n.tsv.json``).

Dimensions: ``r`` rows of a piece.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError
from biolm.io.atomic import refuse_existing, replacing
from biolm.progress import log

__all__ = ["TABLES", "check_table", "side_car", "table_endings", "table_format", "write_table"]

TABLES = ("parquet", "tsv", "csv")

_FORMULA = tuple("=+-@")
_NUMBER = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?")

Columns = Mapping[str, NDArray[Any]]


def table_format(target: Path) -> str:
    """``parquet``, ``tsv`` or ``csv``, by the ending.

    Raises
    ------
    ConfigError
        For another ending.

    Examples
    --------
    >>> table_format(Path("genes.tsv"))
    'tsv'
    """
    kind = target.suffix.lower().removeprefix(".")
    if kind not in TABLES:
        raise ConfigError(f"{target} names no format for a table; use an ending among .{', .'.join(TABLES)}")
    return kind


def check_table(target: Path, *, overwrite: bool) -> None:
    """Check, before any work, that a table may be written.

    Parameters
    ----------
    target
        The output.
    overwrite
        Whether it may be replaced.

    Raises
    ------
    ConfigError
        If the ending names no format.
    OutputError
        If the table, or the JSON file of a text table, exists and ``overwrite`` is not set.
    """
    for ending in table_endings(target):
        refuse_existing(target.with_suffix(ending), overwrite=overwrite)


def table_endings(target: Path) -> tuple[str, ...]:
    """Endings of the files of a table: its own, and that of the JSON file beside a text table.

    Raises
    ------
    ConfigError
        If the ending names no format.

    Examples
    --------
    >>> table_endings(Path("genes.tsv"))
    ('.tsv', '.tsv.json')
    """
    kind = table_format(target)
    return (target.suffix,) if kind == "parquet" else (target.suffix, f"{target.suffix}.json")


def write_table(
    target: Path, pieces: Iterable[Columns], facts: Mapping[str, Any], *, schema: str, overwrite: bool = False
) -> None:
    """Write a table that appears whole or not at all.

    Parameters
    ----------
    target
        ``.parquet``, ``.tsv`` or ``.csv``.
    pieces
        Consecutive rows, as columns ``(r,)`` by name; the same names in every piece, and at least one piece.
    facts
        Provenance: in the metadata ``biolm`` of Parquet, in the JSON file beside a text table.
    schema
        Names the columns and their version, such as ``biolm.neighbours/1``.
    overwrite
        Whether an existing table may be replaced.

    Raises
    ------
    ConfigError, OutputError
        As :func:`check_table`.
    """
    kind = table_format(target)
    check_table(target, overwrite=overwrite)
    about = {"schema": schema, "biolm": json.dumps(facts, sort_keys=True)}
    with replacing(target, overwrite=overwrite) as temporary:
        if kind == "parquet":
            _write_parquet(temporary, pieces, about)
            return
        _write_text(temporary, pieces, "\t" if kind == "tsv" else ",")
        text = json.dumps({"schema": schema, "biolm": dict(facts)}, indent=1, sort_keys=True)
        side_car(temporary).write_text(text + "\n", encoding="utf-8")


def side_car(target: Path) -> Path:
    """The JSON file beside a file that has no room for its provenance; each file has one of its own.

    Examples
    --------
    >>> side_car(Path("genes.tsv")).name
    'genes.tsv.json'
    """
    return target.with_name(f"{target.name}.json")


def _write_parquet(path: Path, pieces: Iterable[Columns], about: dict[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    try:
        for piece in pieces:
            table = pa.table({name: _arrow(values) for name, values in piece.items()})
            table = table.replace_schema_metadata(about)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _arrow(values: NDArray[Any]) -> Any:
    import pyarrow as pa

    # As UTF-8 text: numpy's fixed width would be padded to the longest name.
    if values.dtype.kind in "UO":
        return pa.array(values.tolist(), pa.string())
    return pa.array(values)


def _write_text(path: Path, pieces: Iterable[Columns], delimiter: str) -> None:
    """Numbers in the shortest form that reads back the same, empty where they are not finite."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer, formulas = csv.writer(file, delimiter=delimiter, lineterminator="\n"), 0
        for place, piece in enumerate(pieces):
            if not place:
                writer.writerow(piece)
            writer.writerows(zip(*(_cells(values) for values in piece.values()), strict=True))
            formulas += sum(_formulas(values) for values in piece.values())
    if formulas:
        log.warning(
            "%d cells begin as formulas do (=, +, -, @), which a spreadsheet may run; read them as text",
            formulas,
        )


def _formulas(values: NDArray[Any]) -> int:
    """Texts that a spreadsheet may take for formulas; they stay as they are, since they name things."""
    if values.dtype.kind not in "UO":
        return 0
    texts = (text for text in values.tolist() if isinstance(text, str) and text[:1] in _FORMULA)
    return sum(len(text) > 1 and not _NUMBER.fullmatch(text) for text in texts)


def _cells(values: NDArray[Any]) -> list[Any]:
    if values.dtype.kind != "f":
        return list(values.tolist())
    return [str(value) if np.isfinite(value) else "" for value in values]
