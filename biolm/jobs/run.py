"""Embed a file into a file: streamed, resumable, written whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.io.anndata.result import check_store, format_of, side_car, write_result
from biolm.io.atomic import check_free_space, install, refuse_existing, writing
from biolm.io.cells import CellSource, open_cells
from biolm.jobs.bind import loaded
from biolm.jobs.embed_settings import EmbedSettings
from biolm.jobs.job import Job, prepare
from biolm.jobs.partial import Partial
from biolm.jobs.shards import input_facts
from biolm.models.model import CellModel

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["EmbedSummary", "embed_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSummary:
    """What an embedding job did.

    Parameters
    ----------
    output, format, key
        The file, its format and the name of the result in it.
    cells, width, empty
        Rows and columns of the vectors; cells without counts.
    seconds
        Wall time.
    provenance
        What stands in ``uns["biolm"][key]``.
    """

    output: Path
    format: str
    key: str
    cells: int
    width: int
    empty: int
    seconds: float
    provenance: dict[str, Any]


def embed_file(
    path: str | Path,
    output: str | Path,
    model: str | Path | CellModel | SequenceModel,
    settings: EmbedSettings,
) -> EmbedSummary:
    """Embed the cells of a file or folder and write the result to ``output``.

    Parameters
    ----------
    path
        Any table of cells that :func:`biolm.io.cells.open_cells` reads.
    output
        ``.h5ad`` or ``.zarr`` (a copy of the input with the vectors), ``.parquet`` or ``.npy``; a folder
        for a shard.
    model
        Name, folder or loaded model.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        If input, model or output cannot be used; nothing half-written is left.
    """
    if settings.shard is not None:
        from biolm.jobs.embed_shard import embed_shard

        return embed_shard(path, output, model, settings)
    began = time.monotonic()
    target = Path(output)
    form = format_of(target, settings.format)
    finals = [target, side_car(target)] if form == "npy" else [target]
    for final in finals:
        refuse_existing(final, overwrite=settings.overwrite)
    with open_cells(path, matrix=settings.matrix) as source:
        job = prepare(source, loaded(model), settings)
        check_store(source, form, job.key, overwrite=settings.overwrite)
        shape = (source.n_cells, job.model.width)
        partial = Partial(target, job_facts(job), shape, job.step)
        with partial.open(resume=settings.resume, overwrite=settings.overwrite):
            check_free_space(target, _bytes(source, form, shape))
            for vectors in job.vectors(start=partial.done):
                partial.append(vectors)
            result = job.result(partial.vectors())
            made = partial.folder / f"output.{form}"
            with writing(target):
                write_result(source, made, form, result)
                if form == "npy":
                    install(side_car(made), side_car(target))
                install(made, target)
    return EmbedSummary(
        output=target,
        format=form,
        key=job.key,
        cells=shape[0],
        width=shape[1],
        empty=int(result.empty.sum()),
        seconds=time.monotonic() - began,
        provenance=result.provenance,
    )


def job_facts(job: Job) -> dict[str, Any]:
    """What makes two jobs the same: what was read, by which model, how."""
    source, chosen = job.source, job.settings
    return {
        "input": input_facts(source),
        "model": job.facts,
        "options": {
            "pool": chosen.pool,
            "batch_tokens": chosen.batch_tokens,
            "device": chosen.device,
            "seed": chosen.seed,
            "hidden_state": chosen.hidden_state,
            "precision": chosen.precision,
            "gene_column": job.match.report.column,
            "step": job.step,
        },
    }


def _files(path: Path) -> Iterator[os.stat_result]:
    """State of a file, or of the files of a folder in order of name."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            yield file.stat()


def _bytes(source: CellSource, form: str, shape: tuple[int, int]) -> int:
    """Bytes that the job writes, about: the vectors twice, and the copy of the input."""
    vectors = 4 * shape[0] * shape[1]
    copied = source.path is not None and form in ("h5ad", "zarr")
    return 2 * vectors + (
        sum(state.st_size for state in _files(source.path)) if copied and source.path else 0
    )
