"""Folders of 10x Cell Ranger and STARsolo: matrix.mtx, barcodes.tsv and features.tsv or genes.tsv.

The files may be gzipped and share a prefix, as in GEO (``GSM1_sample_matrix.mtx.gz``).

Dimensions: ``e`` stored values of a batch of lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.bands import Band, BandedRows
from biolm.io.cells.features import feature_types, typed_cells
from biolm.io.cells.source import OpenCells, Table, resolve_matrix
from biolm.io.cells.text import TidyLines, read_lines, unquoted
from biolm.io.unpack import Bounded, open_gzip

__all__ = ["open_file", "open_turned", "recognises"]

TEXT_BYTES = 1 << 24

# First fields of the lines that R and some tools write above the names.
TITLES = {
    *("", "barcode", "barcodes", "cell", "cells", "gene", "gene_id", "gene_ids", "genes", "index"),
    *("v1", "x"),
}


class _Header(NamedTuple):
    """What the first lines of a matrix file say; genes and cells whichever way it lies."""

    genes: int
    cells: int
    values: int
    whole_numbers: bool
    turned: bool


def recognises(path: Path) -> bool:
    """Whether it is a folder with a matrix file, or the matrix file itself."""
    return bool(_matrices(path))


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open a folder; ``X`` is the gene expression, other feature types go by their name.

    Parameters
    ----------
    path
        Of the folder.
    matrix
        ``X`` or a type of features.

    Raises
    ------
    InputError
        If files are missing, several prefixes lie in the folder, or sizes disagree.
    """
    return _open(path, matrix, turned=False)


def open_turned(path: Path, matrix: str) -> OpenCells:
    """Open a folder whose matrix is cells x genes.

    Parameters
    ----------
    path
        Of the folder.
    matrix
        ``X`` or a type of features.
    """
    return _open(path, matrix, turned=True)


def _open(path: Path, matrix: str, *, turned: bool) -> OpenCells:
    matrices = _matrices(path)
    if len(matrices) > 1:
        names = ", ".join(file.name for file in matrices)
        raise InputError(f"{path} holds several matrices ({names}); give the path of one of them")
    file = matrices[0]
    header = _header(file, turned=turned)
    barcodes = _table(_companion(file, "barcodes.tsv"), header.cells)
    genes = _table(_companion(file, "features.tsv", "genes.tsv"), header.genes)
    _check_sizes(file, header, len(genes), len(barcodes))
    cells = np.array([row[0] for row in barcodes], dtype=np.str_)
    var = _features(genes)
    types = feature_types(var)
    offered = list(types) or ["X"]
    chosen = resolve_matrix(matrix, offered, path)
    return typed_cells(
        types,
        chosen,
        path=path,
        kind="10x-mtx",
        matrix=chosen,
        rows=BandedRows((header.cells, header.genes), partial(_bands, file, header)),
        obs=Table(lambda: cells),
        var=var,
        offered=offered,
        on_close=lambda: None,
    )


def _check_sizes(file: Path, header: _Header, genes: int, barcodes: int) -> None:
    """Refuse a matrix that does not have the size of the names beside it; say if it lies the other way."""
    if (header.genes, header.cells) == (genes, barcodes):
        return
    size = (header.cells, header.genes) if header.turned else (header.genes, header.cells)
    beside = f"{file} is {size[0]} x {size[1]}, but beside it lie {genes} genes and {barcodes} barcodes"
    if (header.genes, header.cells) == (barcodes, genes):
        way = (
            "it is genes x cells, so leave out `transpose=True`"
            if header.turned
            else "it is cells x genes, so read it with `transpose=True`"
        )
        raise InputError(f"{beside}: {way}")
    raise InputError(f"{beside}; the three files do not belong together")


def _matrices(path: Path) -> list[Path]:
    """Matrix files at a path."""
    if path.is_dir():
        return sorted(file for end in (".mtx", ".mtx.gz") for file in path.glob(f"*matrix{end}"))
    return [path] if path.name.removesuffix(".gz").endswith("matrix.mtx") else []


def _companion(matrix: Path, *names: str) -> Path:
    """The file of this name that has the prefix of the matrix."""
    prefix = matrix.name.removesuffix(".gz").removesuffix("matrix.mtx")
    for name in names:
        for end in ("", ".gz"):
            if (file := matrix.with_name(f"{prefix}{name}{end}")).exists():
                return file
    raise InputError(f"{matrix} has no {prefix}{' or '.join(names)} beside it (plain or .gz)")


def _table(path: Path, size: int) -> list[list[str]]:
    """Fields of the lines of a file of names, without quotes and without a title above ``size`` names."""
    lines = read_lines(path)
    tabs = any("\t" in line for line in lines)
    # Blanks separate where no tab does; the third field, the type, may hold some itself.
    rows = [
        [unquoted(field) for field in (line.split("\t") if tabs else line.split(None, 2))] for line in lines
    ]
    return rows[1:] if len(rows) == size + 1 and rows[0][0].lower() in TITLES else rows


def _features(table: list[list[str]]) -> Table:
    """Columns of features.tsv (id, symbol, type) or genes.tsv (id, symbol)."""
    width = min((len(row) for row in table), default=0)
    columns = [np.array([row[place] for row in table], dtype=np.str_) for place in range(min(width, 3))]
    named = dict(zip(("gene_ids", "names", "feature_types"), columns, strict=False))
    # Some tools write the ids alone.
    names: NDArray[np.str_] = named.pop("names", named.get("gene_ids", np.empty(0, np.str_)))
    return Table(lambda: names, {name: partial(np.asarray, values) for name, values in named.items()})


def _header(path: Path, *, turned: bool) -> _Header:
    """Read the banner and the size line.

    Format: https://math.nist.gov/MatrixMarket/formats.html
    """
    try:
        with open_gzip(path, encoding="latin-1") as file:  # comments may hold anything
            banner = file.readline(4096).split()
            line = file.readline(1 << 20)
            while line and (not line.strip() or line.lstrip().startswith("%")):
                line = file.readline(1 << 20)
            first, second, values = (int(size) for size in line.split())
        kind = [word.lower() for word in banner[1:5]]
        known = (
            kind[:2] == ["matrix", "coordinate"] and kind[2] in {"integer", "real"} and kind[3] == "general"
        )
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} is truncated or not a MatrixMarket file; copy or download it again"
        ) from error
    if not known:
        raise InputError(
            f"{path} is a MatrixMarket file of kind '{' '.join(kind)}'; 10x writes coordinate integer"
        )
    genes, cells = (second, first) if turned else (first, second)
    return _Header(genes, cells, values, kind[2] == "integer", turned)


def _bands(path: Path, header: _Header) -> Iterator[Band]:
    """Entries of the file in batches of lines."""
    from scipy.sparse import coo_array

    seen = 0
    for gene, cell, value in _entries(path, header):
        seen += len(value)
        _check_range(path, gene, header.genes)
        _check_range(path, cell, header.cells)
        first = int(cell.min())
        shape = (int(cell.max()) - first + 1, header.genes)
        yield first - 1, coo_array((value, (cell - first, gene - 1)), shape=shape).tocsr()
    if seen != header.values:
        raise InputError(f"{path} is truncated: it holds {seen} values of {header.values}; copy it again")


def _entries(
    path: Path, header: _Header
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[Any]]]:
    """Gene, cell and value ``(e,)`` of some lines at a time, after the size line."""
    import pyarrow as pa
    from pyarrow import csv

    places = ["cell", "gene"] if header.turned else ["gene", "cell"]
    # Whole numbers may be written with a decimal point, whatever the banner says.
    types = dict.fromkeys(places, pa.int32()) | {
        "value": pa.float64() if header.whole_numbers else pa.float32()
    }
    try:
        with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as stream:
            bounded = Bounded(stream, path.stat().st_size, path)
            reader = csv.open_csv(
                pa.PythonFile(TidyLines(bounded, b"%", blanks=True), mode="r"),
                csv.ReadOptions(
                    use_threads=False,
                    block_size=TEXT_BYTES,
                    skip_rows_after_names=1,
                    column_names=list(types),
                ),
                csv.ParseOptions(delimiter=" "),
                csv.ConvertOptions(column_types=types, null_values=[]),
            )
            for batch in reader:
                if not batch.num_rows:
                    continue
                gene, cell, value = (batch.column(name).to_numpy() for name in ("gene", "cell", "value"))
                yield gene, cell, _whole(value) if header.whole_numbers else value
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is damaged: {_first_line(error)}") from error


def _whole(values: NDArray[np.float64]) -> NDArray[Any]:
    """Whole numbers as int32 where they fit, as every file of counts does."""
    with np.errstate(invalid="ignore"):
        narrow = values.astype(np.int32)
    return narrow if np.array_equal(narrow, values) else values


def _check_range(path: Path, places: NDArray[np.int32], size: int) -> None:
    """Refuse numbers outside 1 to ``size``."""
    if places.min() < 1 or places.max() > size:
        raise InputError(f"{path} is damaged: it has entries outside its own size; copy or download it again")


def _first_line(error: Exception) -> str:
    """An error of pyarrow without its stack."""
    return str(error).splitlines()[0]
