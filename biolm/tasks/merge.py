"""Merge shards to what the whole job would have written, to the byte."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biolm.errors import InputError
from biolm.io.anndata.result import check_store, format_of, side_car, write_result
from biolm.io.atomic import check_free_space, install, refuse_existing, writing
from biolm.io.cells import CellSource, open_cells
from biolm.io.tokens import TokenWriter, read_tokens
from biolm.jobs.job import finished
from biolm.jobs.shards import SHARD_FILE, ShardRecord, input_facts, read_shards

__all__ = ["MergeSummary", "merge", "merge_shards"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSummary:
    """What was merged.

    Parameters
    ----------
    output, kind
        The file; ``vectors``, ``tokens`` or ``calls``.
    shards, rows
        How many shards there were, and their cells.
    """

    output: Path
    kind: str
    shards: int
    rows: int


def merge(shards: Sequence[str | Path], output: str | Path, **options: Any) -> Path:
    """Put all shards of a job together; the result is that of the job done at once, to the byte.

    Parameters
    ----------
    shards, output, options
        As for :func:`merge_shards`.

    Returns
    -------
    The path of ``output``.

    Examples
    --------
    >>> merge(["part1", "part2"], "cells.h5ad").name  # doctest: +SKIP
    'cells.h5ad'
    """
    return merge_shards(shards, output, **options).output


def merge_shards(
    shards: Sequence[str | Path],
    output: str | Path,
    *,
    data: str | Path | None = None,
    format: str | None = None,  # noqa: A002  # the word users know
    overwrite: bool = False,
) -> MergeSummary:
    """Put all shards of a job together; the result is that of the job done at once, to the byte.

    Parameters
    ----------
    shards
        Folders that ``embed``, ``tokenize`` or ``annotate predict`` wrote with ``shard``, in any order.
    output
        What the whole job would write: ``.h5ad``, ``.zarr``, ``.parquet`` or ``.npy`` for vectors,
        ``.parquet``, ``.arrow`` or ``.zarr`` for tokens, ``.h5ad`` or ``.zarr`` for names of cells.
    data
        The table of cells that was read, if it was moved since.
    format
        By the ending of the output by default.
    overwrite
        Whether an existing output may be replaced.

    Raises
    ------
    InputError
        If a shard is missing, given twice or of another job, or the input changed.
    OutputError, ConfigError
        If the output cannot be written.
    """
    records, target = read_shards(shards), Path(output)
    if records[0].kind == "tokens":
        rows = _tokens(records, target, form=format, overwrite=overwrite)
    elif records[0].kind == "calls":
        rows = _calls(records, target, data=data, form=format, overwrite=overwrite)
    else:
        rows = _vectors(records, target, data=data, form=format, overwrite=overwrite)
    return MergeSummary(output=target, kind=records[0].kind, shards=len(records), rows=rows)


def _tokens(records: list[ShardRecord], target: Path, *, form: str | None, overwrite: bool) -> int:
    """Write the blocks of all shards as the whole job would."""
    refuse_existing(target, overwrite=overwrite)
    job, rows = records[0].job, 0
    with TokenWriter(target, metadata=job["provenance"], format=form, overwrite=overwrite) as writer:
        for record in records:
            for names, tokens in read_tokens(record.path / SHARD_FILE, job["step"]):
                writer.write(tokens, names)
                rows += len(names)
        _check_rows(rows, job["input"]["cells"])
    return rows


def _calls(
    records: list[ShardRecord],
    target: Path,
    *,
    data: str | Path | None,
    form: str | None,
    overwrite: bool,
) -> int:
    """Write the names of cells as the whole job would."""
    from biolm.tasks.annotate.shard import merge_calls

    job, facts = records[0].job, records[0].facts
    form = format_of(target, form)
    refuse_existing(target, overwrite=overwrite)
    with open_cells(facts["input"] if data is None else data, matrix=job["input"]["matrix"]) as source:
        _check_input(source, job)
        return merge_calls(source, records, target, form, overwrite=overwrite)


def _vectors(
    records: list[ShardRecord],
    target: Path,
    *,
    data: str | Path | None,
    form: str | None,
    overwrite: bool,
) -> int:
    """Put the vectors end to end and write them as the whole job would."""
    job, facts = records[0].job, records[0].facts
    form = format_of(target, form)
    for final in [target, side_car(target)] if form == "npy" else [target]:
        refuse_existing(final, overwrite=overwrite)
    with open_cells(facts["input"] if data is None else data, matrix=job["input"]["matrix"]) as source:
        _check_input(source, job)
        check_store(source, form, job["key"], overwrite=overwrite or facts["overwrite"])
        shape = (source.n_cells, int(facts["width"]))
        check_free_space(target, 8 * shape[0] * shape[1])
        beside = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.merge-")
        with beside as name, writing(target):
            folder = Path(name)
            joined = folder / "vectors.f32"
            with joined.open("wb") as whole:
                for record in records:
                    with (record.path / "vectors.f32").open("rb") as part:
                        shutil.copyfileobj(part, whole, 1 << 24)
            _check_rows(joined.stat().st_size // (4 * shape[1]), shape[0])
            vectors = np.memmap(joined, np.float32, mode="r", shape=shape)
            result = finished(vectors, job["key"], job["provenance"], centre=job["centre"])
            made = folder / f"output.{form}"
            write_result(source, made, form, result)
            if form == "npy":
                install(side_car(made), side_car(target))
            install(made, target)
    return shape[0]


def _check_input(source: CellSource, job: dict[str, Any]) -> None:
    """Refuse another input than the shards were made from; it may have been copied."""
    found = input_facts(source)
    differs = [name for name, value in job["input"].items() if name != "stamp" and found[name] != value]
    if differs:
        raise InputError(
            f"{source.path} is not what the shards were made from ({' and '.join(differs)} differ); "
            "name the right file with --input"
        )


def _check_rows(found: int, wanted: int) -> None:
    if found != wanted:
        raise InputError(f"the shards hold {found} rows of {wanted}; make the shards again")
