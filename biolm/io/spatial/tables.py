"""Count tables as text whose first columns are ids: read in batches, kept sparse.

Dimensions: ``n`` rows · ``g`` columns that hold counts.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.damage import damage_named
from biolm.io.unpack import open_gzip

__all__ = ["find_pair", "find_table", "header_of", "memory_source", "read_columns", "read_counts"]

_BYTES = 1 << 23


def find_table(folder: Path, *endings: str) -> Path | None:
    """The file of a folder whose name ends so, gzipped or not.

    Raises
    ------
    InputError
        If there are several.
    """
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and any(path.name.removesuffix(".gz").endswith(end) for end in endings)
    ]
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise InputError(f"{folder} holds several tables of one kind ({names}); keep those of one section")
    return files[0] if files else None


def find_pair(folder: Path, counts: str, about: str) -> tuple[Path, Path] | None:
    """The tables of counts and of cells in a folder; None where one is missing.

    Parameters
    ----------
    folder
        To look in.
    counts, about
        Endings of the two names.

    Raises
    ------
    InputError
        If there are several of one kind.
    """
    if not folder.is_dir():
        return None
    first, second = find_table(folder, counts), find_table(folder, about)
    return None if first is None or second is None else (first, second)


@damage_named()
def header_of(path: Path) -> tuple[list[str], str]:
    """Names of the columns, and what separates them.

    Raises
    ------
    InputError
        If it is no text.
    """
    try:
        with open_gzip(path, encoding="utf-8") as file:
            line = file.readline()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; copy it again") from error
    # Names of genes hold commas more often than tabs.
    delimiter = "\t" if line.count("\t") >= max(1, line.count(",")) else ","
    return next(csv.reader([line.lstrip("\ufeff")], delimiter=delimiter), []), delimiter


@damage_named()
def read_columns(path: Path, text: Sequence[str], numbers: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Some columns of a table: ids as the text that the file has, never as numbers, which would round them.

    Parameters
    ----------
    path
        The table, or a Parquet file.
    text, numbers
        Names of the columns.

    Raises
    ------
    InputError
        If a column is missing or holds something else.
    """
    from biolm.io.spatial.joins import as_text

    names = [*text, *numbers]
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        present = pq.read_schema(path).names
        _refuse_missing(path, present, names)
        table = pq.read_table(path, columns=names)
    else:
        present, _ = header_of(path)
        _refuse_missing(path, present, names)
        table = _read_text(path, present, names, set(text))
    # Through objects, so that ids that look like numbers keep every digit.
    columns = {name: as_text(table[name].to_numpy().astype(object)) for name in text}
    columns |= {name: table[name].to_numpy().astype(np.float64) for name in numbers}
    return columns


def _refuse_missing(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in columns]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}; it has {', '.join(columns[:12])}")


def _read_text(path: Path, columns: Sequence[str], names: Sequence[str], text: set[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    _, delimiter = header_of(path)
    # Columns are called by place, as names may be empty or repeat.
    places = {name: f"f{columns.index(name)}" for name in names}
    types = {places[name]: pa.string() if name in text else pa.float64() for name in names}
    try:
        with open_gzip(path) as stream:
            table = arrow_csv.read_csv(
                pa.PythonFile(stream, mode="r"),
                arrow_csv.ReadOptions(
                    use_threads=False, skip_rows=1, column_names=[f"f{n}" for n in range(len(columns))]
                ),
                arrow_csv.ParseOptions(delimiter=delimiter),
                arrow_csv.ConvertOptions(column_types=types, include_columns=list(types)),
            )
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is no regular table ({str(error).splitlines()[0]})") from error
    return table.rename_columns(list(places))


@damage_named()
def read_counts(path: Path, ids: int) -> tuple[list[NDArray[np.str_]], NDArray[np.str_], Any]:
    """A count table whose first columns are ids.

    Parameters
    ----------
    path
        The table, rows are spots or cells.
    ids
        How many columns are ids.

    Returns
    -------
    The id columns ``(n,)``, the names ``(g,)``, and ``(n, g)`` float32 in CSR form.

    Raises
    ------
    InputError
        If a value is not a number.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from scipy.sparse import csr_matrix, vstack

    names, delimiter = header_of(path)
    first = _first_row(path, delimiter)
    if len(first) == len(names) + 1:  # R writes no name over the row names
        names = ["", *names]
    columns = [f"f{place}" for place in range(len(names))]
    types = {name: pa.string() if place < ids else pa.float32() for place, name in enumerate(columns)}
    parts, genes = [], []
    try:
        with open_gzip(path) as stream:
            reader = arrow_csv.open_csv(
                pa.PythonFile(stream, mode="r"),
                arrow_csv.ReadOptions(
                    use_threads=False, block_size=_BYTES, skip_rows=1, column_names=columns
                ),
                arrow_csv.ParseOptions(delimiter=delimiter),
                arrow_csv.ConvertOptions(column_types=types),
            )
            for batch in reader:
                read = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
                genes.append([column.astype(np.str_) for column in read[:ids]])
                # Made sparse piece by piece: a whole table as dense numbers is larger than most memories.
                parts.append(csr_matrix(np.stack(read[ids:], 1)))
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is no regular table of counts ({str(error).splitlines()[0]})") from error
    if not parts:
        raise InputError(f"{path} holds no rows")
    keys = [np.concatenate([part[place] for part in genes]) for place in range(ids)]
    return keys, np.array(names[ids:], np.str_), vstack(parts, format="csr")


def _first_row(path: Path, delimiter: str) -> list[str]:
    with open_gzip(path, encoding="utf-8") as file:
        file.readline()
        return next(csv.reader([file.readline()], delimiter=delimiter), [])


def memory_source(counts: Any, names: NDArray[np.str_], genes: NDArray[np.str_]) -> Any:
    """A table of cells over counts in memory.

    Parameters
    ----------
    counts
        ``(n, g)``.
    names
        ``(n,)`` of the cells.
    genes
        ``(g,)``.
    """
    import anndata
    import pandas as pd

    from biolm.io.cells import open_cells

    obs, var = pd.DataFrame(index=pd.Index(names)), pd.DataFrame(index=pd.Index(genes))
    return open_cells(anndata.AnnData(counts, obs=obs, var=var))
