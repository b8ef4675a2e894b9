"""Name the cells of a file into a file, whole or a shard at a time.

Dimensions: ``n`` cells · ``c`` classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biolm.errors import ConfigError, InputError
from biolm.io.anndata.columns import Coded
from biolm.io.anndata.result import format_of, write_store
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellSource
from biolm.io.provenance import plain
from biolm.jobs.cells import input_facts
from biolm.jobs.job import Job, check_outputs, write_whole
from biolm.jobs.shards import ShardRecord, check_same_input
from biolm.jobs.spool import Parts
from biolm.models.model import CellModel
from biolm.options import refuse_unused
from biolm.tasks.annotate.annotator import Annotator, load_annotator
from biolm.tasks.annotate.calls import Judged
from biolm.tasks.annotate.predict import Annotation, additions, keys, rolled
from biolm.tasks.annotate.settings import PredictSettings

__all__ = ["merge_calls", "predict_file"]

KIND = "calls"


def predict_file(
    path: str | Path,
    output: str | Path,
    annotator: str | Path | Annotator,
    settings: PredictSettings,
    model: str | Path | CellModel | None = None,
) -> dict[str, Any]:
    """Name the cells of a file; a copy of it with the names is written to ``output`` (h5ad or zarr).

    Where the settings name a shard, its probabilities are written to the folder ``output``; the annotator is
    then given as a folder, since merging reads it again.

    Parameters
    ----------
    path
        A table of cells.
    output
        ``.h5ad`` or ``.zarr``; a folder for a shard.
    annotator
        A folder of ``biolm annotate fit``, or what :func:`biolm.annotate.fit` returned.
    settings
        Choices of the job.
    model
        The annotator's model, where it is no longer where it was.

    Returns
    -------
    By key: cells of each class; of a shard, nothing.

    Raises
    ------
    BiolmError
        If input, annotator or output cannot be used; nothing half-written is left.
    """
    refuse_unused(settings, "cells")
    target = Path(output)
    form = "shard" if settings.shard else store_format(target, settings.format)
    check_outputs(target, (".h5ad", ".zarr") if settings.shard else (target.suffix,), settings)
    in_memory = isinstance(annotator, Annotator) or isinstance(model, CellModel)
    if settings.shard and in_memory:
        raise ConfigError("a shard is merged with the annotator of a folder; save it and give the folder")
    used = annotator if isinstance(annotator, Annotator) else load_annotator(annotator, model)
    with open_table(path, matrix=settings.matrix) as source:
        coarse = rolled(used, settings)
        nothing = additions(used, settings, Judged.nothing(used), coarse)
        nothing.check_free(dict.fromkeys(source.obs_columns()), {}, overwrite=settings.overwrite)
        work = Annotation.of(source, used, settings)
        counts: dict[str, Any] = {}

        def finish(parts: Parts, made: Path) -> None:
            added = additions(used, settings, Judged.of_parts(used, parts), coarse)
            write_store(source, made, form, added)
            counts.update(
                {name: _counts(column) for name, column in added.columns.items() if isinstance(column, Coded)}
            )

        Job(
            kind=KIND,
            same=_same(source, used, annotator, settings, coarse),
            facts={
                "input": str(Path(path).resolve()),
                "annotator": "" if isinstance(annotator, Annotator) else str(Path(annotator).resolve()),
                "model": None if model is None or isinstance(model, CellModel) else str(model),
            },
            inputs={} if source.path is None else {"stamp": source.path},
            ends=work.job.ends,
            blocks=work.job.blocks,
            compute=work.compute,
            finish=finish,
            label="annotating",
            unit="cells",
        ).run(target, settings)
    return counts


def _same(
    source: CellSource,
    used: Annotator,
    annotator: str | Path | Annotator,
    settings: PredictSettings,
    coarse: Mapping[str, str],
) -> dict[str, Any]:
    """What makes two jobs the same: cells, annotator, options."""
    return {
        "input": input_facts(source),
        "annotator": plain(used.facts) if isinstance(annotator, Annotator) else digest_of(Path(annotator)),
        "key": keys(used, settings)[0],
        "options": {
            "reject": settings.reject,
            "coarse": dict(coarse),
            "device": settings.device,
            "precision": settings.precision,
            "seed": settings.seed,
            "gene_column": settings.gene_column,
            "match": settings.match,
            "species": settings.species,
            "layer": settings.layer,
            "block_rows": settings.block_rows or used.model.block_rows,
        },
    }


def merge_calls(
    records: Sequence[ShardRecord], parts: Parts, target: Path, *, data: str | Path | None, form: str | None
) -> int:
    """Write the names of all cells as the whole job would; how many cells there are.

    Parameters
    ----------
    records
        All shards, in order.
    parts
        Their results.
    target
        What is written: ``.h5ad`` or ``.zarr``.
    data
        The cells, if they were moved since.
    form
        By the ending of the output by default.

    Raises
    ------
    InputError
        If the annotator or the cells changed.
    """
    form = store_format(target, form)
    job, facts = records[0].job, records[0].facts
    folder = Path(facts["annotator"])
    annotator = load_annotator(folder, facts["model"])
    if digest_of(folder) != job["annotator"]:
        raise InputError(f"the annotator {folder} changed since the shards were made; make the shards again")
    settings = PredictSettings(key=job["key"], reject=job["options"]["reject"])
    with open_table(facts["input"] if data is None else data, matrix=job["input"]["matrix"]) as source:
        check_same_input(input_facts(source), job["input"], source.path)
        found = Judged.of_parts(annotator, parts)
        added = additions(annotator, settings, found, job["options"]["coarse"])
        write_whole(parts.folder, target, lambda made: write_store(source, made, form, added))
        return source.n_cells


def digest_of(folder: Path) -> str:
    """What tells one annotator from another: the bytes of its files but the page."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    whole = hashlib.sha256()
    for path in files:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def store_format(target: Path, chosen: str | None) -> str:
    """``h5ad`` or ``zarr``.

    Raises
    ------
    ConfigError
        If the ending or the choice names another format.
    """
    form = format_of(target, chosen)
    if form not in ("h5ad", "zarr"):
        raise ConfigError(f"names of cells are written as h5ad or zarr, not as {form}")
    return form


def _counts(column: Coded) -> dict[str, int]:
    """Cells of each category."""
    sizes = np.bincount(column.codes, minlength=len(column.categories))
    return {str(name): int(size) for name, size in zip(column.categories, sizes, strict=True)}
