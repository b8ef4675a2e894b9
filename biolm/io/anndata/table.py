"""Vectors alone, as Parquet or as a numpy array with a JSON file beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.anndata.vectors import CellVectors

__all__ = ["SCHEMA", "write_npy", "write_parquet"]

SCHEMA = "biolm.vectors/1"


def write_parquet(
    target: Path,
    names: NDArray[np.str_],
    result: CellVectors,
    columns: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> None:
    """One row a cell, in input order: ``row``, ``name``, ``empty``, further ``columns`` and ``vector``.

    Names may repeat; ``row`` never does. The file's metadata hold ``biolm`` (provenance as JSON) and
    ``schema``.

    Parameters
    ----------
    target
        Path that does not exist.
    names
        ``(n,)`` of the cells.
    result
        Vectors and provenance.
    columns
        Further columns by name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = result.vectors.shape[1]
    schema = pa.schema(
        [
            ("row", pa.int64()),
            ("name", pa.string()),
            ("empty", pa.bool_()),
            *((name, pa.array(values[:0]).type) for name, values in columns.items()),
            ("vector", pa.list_(pa.float32(), width)),
        ],
        metadata={"schema": SCHEMA, "biolm": json.dumps({result.key: result.provenance}, sort_keys=True)},
    )
    start = 0
    with pq.ParquetWriter(target, schema) as writer:
        for chunk in result.chunks():
            stop = start + len(chunk)
            parts = [
                pa.array(np.arange(start, stop)),
                pa.array(names[start:stop].tolist(), pa.string()),
                pa.array(result.empty[start:stop]),
                *(pa.array(values[start:stop]) for values in columns.values()),
                pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(chunk).ravel()), width),
            ]
            writer.write_table(pa.Table.from_arrays(parts, schema=schema))
            start = stop


def write_npy(
    target: Path,
    side: Path,
    names: NDArray[np.str_],
    result: CellVectors,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """A ``(n, d)`` float32 array; names, empty rows, provenance and further ``facts`` as JSON in ``side``.

    Parameters
    ----------
    target, side
        Paths of the array and of the JSON beside it.
    names
        ``(n,)`` of the cells.
    result
        Vectors and provenance.
    facts
        Further entries of the JSON.
    """
    with target.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": result.vectors.shape}
        # By hand, so that rows go out as they come and are never whole in memory.
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in result.chunks():
            file.write(np.ascontiguousarray(chunk, "<f4").data)
    content = {
        "schema": SCHEMA,
        "key": result.key,
        "biolm": result.provenance,
        "empty": np.flatnonzero(result.empty).tolist(),
        "names": names.tolist(),
        **facts,
    }
    side.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
