"""Embed a part of a file's cells into a folder, for :mod:`biolm.tasks.merge`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from biolm.errors import ConfigError
from biolm.io.anndata.result import check_store
from biolm.io.atomic import check_free_space, install, refuse_existing, remove, writing
from biolm.io.cells import open_cells
from biolm.jobs.bind import loaded
from biolm.jobs.embed_settings import EmbedSettings
from biolm.jobs.job import prepare
from biolm.jobs.partial import Partial
from biolm.jobs.run import EmbedSummary, job_facts
from biolm.jobs.shards import Shard, write_record
from biolm.models.model import CellModel

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["embed_shard"]


def embed_shard(
    path: str | Path,
    output: str | Path,
    model: str | Path | CellModel | SequenceModel,
    settings: EmbedSettings,
) -> EmbedSummary:
    """Embed the cells of the shard that the settings name.

    Parameters
    ----------
    path, model, settings
        As for :func:`~biolm.jobs.run.embed_file`.
    output
        Folder to write: the vectors, and what job they belong to.

    Raises
    ------
    BiolmError
        If input, model or output cannot be used; nothing half-written is left.
    """
    began, target = time.monotonic(), Path(output)
    if target.suffix in (".h5ad", ".zarr", ".parquet", ".npy"):
        raise ConfigError(f"a shard is a folder, not a {target.suffix} file; merging writes that")
    refuse_existing(target, overwrite=settings.overwrite)
    shard = Shard.parse(str(settings.shard))
    with open_cells(path, matrix=settings.matrix) as source:
        job = prepare(source, loaded(model), settings)
        check_store(source, "h5ad", job.key, overwrite=settings.overwrite)
        first, last = shard.rows(source.n_cells, job.step)
        shape = (last - first, job.model.width)
        facts, provenance = job_facts(job), job.provenance()
        partial = Partial(target, {**facts, "shard": str(shard)}, shape, job.step)
        with partial.open(resume=settings.resume, overwrite=settings.overwrite):
            check_free_space(target, 4 * shape[0] * shape[1])
            for vectors in job.vectors(start=first + partial.done, stop=last):
                partial.append(vectors)
            whole = {**facts, "key": job.key, "provenance": provenance, "centre": settings.centre}
            more = {"input": str(Path(path).resolve()), "width": shape[1], "overwrite": settings.overwrite}
            with writing(target):
                write_record(partial.folder, shard, "vectors", whole, more)
                remove(partial.folder / "job.json")
                install(partial.folder, target)
    return EmbedSummary(
        output=target,
        format="shard",
        key=job.key,
        cells=shape[0],
        width=shape[1],
        empty=0,
        seconds=time.monotonic() - began,
        provenance=provenance,
    )
