"""Search the cells of a file into a file, whole or a shard at a time.

Dimensions: ``q`` query cells · ``k`` neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.anndata.columns import CellAdditions
from biolm.io.anndata.convert import reading
from biolm.io.anndata.result import format_of, write_store
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellBlock, CellSource
from biolm.io.provenance import plain
from biolm.io.table import TABLES, table_endings, write_table
from biolm.jobs.cells import cells_of_shards, prepare
from biolm.jobs.job import Job, check_outputs, made_from, shard_parts, watched
from biolm.jobs.merging import Merging
from biolm.jobs.precision import settled
from biolm.jobs.spool import Parts
from biolm.models.model import CellModel
from biolm.progress import log
from biolm.tasks.search.index import Index, load
from biolm.tasks.search.query import (
    Neighbours,
    QuerySettings,
    check_model,
    query_provenance,
    reader,
    transfer,
)

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Asked", "merge_neighbours", "query_file"]

SCHEMA = "biolm.neighbours/1"
KIND = "neighbours"
_PIECE = 8192


@dataclass(frozen=True)
class Asked:
    """What a query asks of an index; see :func:`biolm.search.query`."""

    index: str | Path | Index
    model: str | Path | CellModel | None
    k: int
    inside: float
    key: str


def query_file(
    data: str | Path | AnnData, index: Index, target: Path, settings: QuerySettings, asked: Asked
) -> Neighbours:
    """Search block by block into a file, or do a shard of that into a folder.

    Parameters
    ----------
    data
        The cells.
    index
        The open index.
    target
        The output.
    settings
        Choices of the job.
    asked
        What is asked of the index.

    Raises
    ------
    BiolmError
        If cells, model, index or output cannot be used; nothing half-written is left.
    """
    if settings.shard is None:
        check_outputs(target, _endings(target), settings)
    else:
        check_outputs(target, (".h5ad", ".zarr", *(f".{name}" for name in TABLES)), settings)
        if isinstance(asked.index, Index) or not isinstance(data, str | Path):
            raise ConfigError("a shard is merged with the index of a folder and the file; give their paths")
    with open_table(data, matrix=settings.matrix) as source:
        job = prepare(
            source, reader(index, asked.model), settings, lambda name: open_table(data, matrix=name)
        )
        check_model(index, job)
        _check_columns(source, target, index, asked.key, overwrite=settings.overwrite)
        job = settled(job, resume=target if settings.resume else None)
        metadata = query_provenance(index, job, asked.k, asked.inside)

        def compute(block: CellBlock) -> dict[str, NDArray[Any]]:
            rows, distances = index.search(job.compute(block)["vectors"], asked.k)
            return {"rows": rows, "distances": distances}

        def finish(parts: Parts, temporary: Path) -> None:
            results.append(_joined(index, parts, asked.inside, metadata))
            _write(results[0], index, source, temporary, target, asked.key)

        results: list[Neighbours] = []
        work = Job(
            kind=KIND,
            same={
                **job.same(),
                "index": plain(dict(index.metadata)),
                "k": asked.k,
                "inside": asked.inside,
                "key": asked.key,
                "provenance": metadata,
            },
            facts={
                "input": made_from(data),
                "layer": settings.layer,
                "index": made_from(asked.index),
            },
            inputs=watched(source),
            ends=job.ends,
            blocks=job.blocks,
            compute=compute,
            finish=finish,
            label="searching",
            unit="cells",
        )
        work.run(target, settings)
    if settings.shard is not None:
        results.append(_joined(index, shard_parts(target), asked.inside, metadata))
    log.info("%d of %d cells are out of reference", results[0].outside.sum(), len(results[0].outside))
    return results[0]


def merge_neighbours(merging: Merging) -> int:
    """Write the neighbours of all shards as the whole job would; how many cells there are.

    Raises
    ------
    InputError
        If the index or the cells changed.
    """
    merging.refuse_form("neighbours are written by the ending of the output")
    job, metadata, target = merging.job, merging.facts, merging.target
    _endings(target)
    index = load(metadata["index"])
    if plain(dict(index.metadata)) != job["index"]:
        raise InputError(f"the index {metadata['index']} changed since the shards were made; make them again")
    neighbours = _joined(index, merging.parts, job["inside"], job["provenance"])
    with cells_of_shards(merging, metadata["layer"] or "X") as source:
        merging.write(lambda temporary: _write(neighbours, index, source, temporary, target, job["key"]))
    return len(neighbours.rows)


def _joined(index: Index, parts: Parts, inside: float, metadata: dict[str, Any]) -> Neighbours:
    arrays = list(parts)
    rows, distances = (np.concatenate([part[name] for part in arrays]) for name in ("rows", "distances"))
    return transfer(index, rows, distances, inside=inside, provenance=metadata)


def _endings(target: Path) -> tuple[str, ...]:
    """Endings of the files that are written."""
    if target.suffix.lower().removeprefix(".") in TABLES:
        return table_endings(target)
    if format_of(target) not in ("h5ad", "zarr"):
        raise ConfigError(
            f"{target} names no format for neighbours; use .parquet, .tsv, .csv, .h5ad or .zarr"
        )
    return (target.suffix,)


def _check_columns(source: CellSource, target: Path, index: Index, key: str, *, overwrite: bool) -> None:
    """Protect columns of the input that biolm did not write."""
    if target.suffix.lower().removeprefix(".") in TABLES:
        return
    names = [f"{key}_distance", f"{key}_out_of_reference"]
    if index.label is not None:
        names += [f"{key}_{index.label}", f"{key}_{index.label}_confidence"]
    # By name alone: what will be written is not known before the search.
    planned = CellAdditions(columns=dict.fromkeys(names, np.zeros(0)), records={key: {}})
    records: Any = {}
    if source.kind in ("h5ad", "zarr") and source.path is not None:
        with reading(source.path) as root:
            records = list(root["uns/biolm"]) if "uns/biolm" in root else []
    planned.check_free(dict.fromkeys(source.obs_columns()), records, overwrite=overwrite)


def _write(
    neighbours: Neighbours, index: Index, source: CellSource, temporary: Path, target: Path, key: str
) -> None:
    """Write to the path ``made`` what goes to ``target``."""
    if target.suffix.lower().removeprefix(".") in TABLES:
        pieces = _pieces(neighbours, index, source.cell_names())
        write_table(temporary, pieces, neighbours.provenance, schema=SCHEMA)
        return
    write_store(source, temporary, format_of(target), neighbours.additions(key, index.label))


def _pieces(
    neighbours: Neighbours, index: Index, names: NDArray[np.str_]
) -> Iterator[dict[str, NDArray[Any]]]:
    """A row a neighbour, in order of query cell and distance."""
    count, k = neighbours.rows.shape
    for start in range(0, max(count, 1), _PIECE):
        rows = neighbours.rows[start : start + _PIECE]
        cells = np.repeat(np.arange(start, start + len(rows)), k)
        flat = rows.ravel()
        has = flat >= 0
        cells, flat = cells[has], flat[has]
        who = index.cells.take(flat)
        piece: dict[str, NDArray[Any]] = {
            "row": cells,
            "name": names[cells],
            "rank": np.tile(np.arange(1, k + 1), len(rows))[has],
            "distance": neighbours.distances[start : start + _PIECE].ravel()[has],
            "reference_row": who.rows,
            "reference_name": who.names,
            "reference_source": who.sources,
        }
        if who.labels is not None:
            piece["reference_label"] = who.labels
        yield piece
