"""Folders of 10x Cell Ranger and STARsolo: matrix.mtx, barcodes.tsv and features.tsv or genes.tsv.

The files may be gzipped and share a prefix, as in GEO (``GSM1_sample_matrix.mtx.gz``).

Dimensions: ``e`` stored values of a batch of lines.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.bands import Band, BandedRows
from biolm.io.cells.features import Features, feature_cells
from biolm.io.cells.source import OpenCells, Table

__all__ = ["open_file", "recognises"]

TEXT_BYTES = 1 << 24


class _Header(NamedTuple):
    """What the first lines of a matrix file say."""

    genes: int
    cells: int
    values: int
    whole_numbers: bool
    lines: int
    delimiter: str


def recognises(path: Path) -> bool:
    """Whether it is a folder with a matrix file, or the matrix file itself."""
    return bool(_matrices(path))


def open_file(path: Path, matrix: str) -> OpenCells:
    """Open a folder; ``X`` is the gene expression, other feature types go by their name.

    Raises
    ------
    InputError
        If files are missing, several prefixes lie in the folder, or sizes disagree.
    """
    found = _matrices(path)
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InputError(f"{path} holds several matrices ({names}); give the path of one of them")
    file = found[0]
    barcodes = _lines(_companion(file, "barcodes.tsv"))
    table = [line.split("\t") for line in _lines(_companion(file, "features.tsv", "genes.tsv"))]
    header = _header(file)
    if (header.genes, header.cells) != (len(table), len(barcodes)):
        raise InputError(
            f"{file} is {header.genes} x {header.cells}, but beside it lie {len(table)} genes "
            f"and {len(barcodes)} barcodes; the three files do not belong together"
        )
    rows = BandedRows((header.cells, header.genes), partial(_bands, file, header))
    cells = np.array([line.split("\t")[0] for line in barcodes], dtype=np.str_)
    return feature_cells(
        _features(table),
        rows=rows,
        obs=Table(lambda: cells),
        path=path,
        kind="10x-mtx",
        matrix=matrix,
        on_close=lambda: None,
    )


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


def _lines(path: Path) -> list[str]:
    """Lines of a small text file, gzipped or not."""
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        return text.decode("utf-8").splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; copy or download it again") from error


def _features(table: list[list[str]]) -> Features:
    """Columns of features.tsv (id, symbol, type) or genes.tsv (id, symbol)."""
    width = min((len(row) for row in table), default=0)
    columns = [np.array([row[place] for row in table], dtype=np.str_) for place in range(min(width, 3))]
    named = dict(zip(("gene_ids", "names", "feature_types"), columns, strict=False))
    # Some tools write the ids alone.
    names: NDArray[np.str_] = named.pop("names", named.get("gene_ids", np.empty(0, np.str_)))
    return Features(names, named)


def _header(path: Path) -> _Header:
    """Read the banner and the size line.

    Format: https://math.nist.gov/MatrixMarket/formats.html
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            banner = file.readline(4096).split()
            lines, line = 2, file.readline(4096)
            while line.startswith(b"%"):
                lines, line = lines + 1, file.readline(1 << 20)
            genes, cells, values = (int(size) for size in line.split())
            delimiter = "\t" if b"\t" in file.readline(4096) else " "
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{path} is truncated or not a MatrixMarket file; copy or download it again"
        ) from error
    kind = [word.decode().lower() for word in banner[1:]]
    if kind[:2] != ["matrix", "coordinate"] or kind[2] not in {"integer", "real"} or kind[3] != "general":
        raise InputError(
            f"{path} is a MatrixMarket file of kind '{' '.join(kind)}'; 10x writes coordinate integer"
        )
    return _Header(genes, cells, values, kind[2] == "integer", lines, delimiter)


def _bands(path: Path, header: _Header) -> Iterator[Band]:
    """Entries of the file in batches of lines."""
    import pyarrow as pa
    from pyarrow import csv
    from scipy.sparse import coo_array

    types = {
        "gene": pa.int32(),
        "cell": pa.int32(),
        "value": pa.int32() if header.whole_numbers else pa.float32(),
    }
    seen = 0
    try:
        with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as stream:
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(
                    use_threads=False,
                    block_size=TEXT_BYTES,
                    skip_rows=header.lines,
                    column_names=list(types),
                ),
                csv.ParseOptions(delimiter=header.delimiter),
                csv.ConvertOptions(column_types=types, null_values=[]),
            )
            for batch in reader:
                gene, cell, value = (column.to_numpy() for column in batch.columns)
                seen += len(value)
                _check_range(path, gene, header.genes)
                _check_range(path, cell, header.cells)
                first = int(cell.min())
                shape = (int(cell.max()) - first + 1, header.genes)
                yield first - 1, coo_array((value, (cell - first, gene - 1)), shape=shape).tocsr()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is damaged: {_first_line(error)}") from error
    if seen != header.values:
        raise InputError(f"{path} is truncated: it holds {seen} values of {header.values}; copy it again")


def _check_range(path: Path, places: NDArray[np.int32], size: int) -> None:
    """Refuse numbers outside 1 to ``size``."""
    if places.min() < 1 or places.max() > size:
        raise InputError(f"{path} is damaged: it has entries outside its own size; copy or download it again")


def _first_line(error: Exception) -> str:
    """An error of pyarrow without its stack."""
    return str(error).splitlines()[0]
