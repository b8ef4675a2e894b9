"""Embed a sequence file into a file: streamed, resumable, written whole or not at all."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.errors import ConfigError
from biolm.io.anndata.result import format_of, side_car
from biolm.io.anndata.sequence_rows import FORMATS, SequenceRows, to_anndata, write_rows
from biolm.io.anndata.vectors import CellVectors
from biolm.io.atomic import check_free_space, install, refuse_existing, writing
from biolm.io.provenance import digest
from biolm.jobs.partial import Partial
from biolm.jobs.run import EmbedSummary
from biolm.tasks.embed_sequences import SequenceJob, prepare_sequences
from biolm.tasks.embed_sequences_settings import SequenceSettings

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.sequence_model import SequenceModel

__all__ = ["embed_sequences", "embed_sequences_file", "sequence_model"]


def sequence_model(model: object) -> SequenceModel:
    """The model itself, or the one of that name or folder.

    Raises
    ------
    ConfigError
        If it reads no sequences.
    """
    from biolm.models.registry import load
    from biolm.models.sequence_model import SequenceModel

    found = load(model) if isinstance(model, str | Path) else model
    if isinstance(found, SequenceModel):
        return found
    name = getattr(found, "name", None) or (model if isinstance(model, str | Path) else type(model).__name__)
    raise ConfigError(
        f"model {name} reads no sequences; give the folder of one that does, such as ESM-2 (-m FOLDER)"
    )


def embed_sequences(path: str | Path, model: object, settings: SequenceSettings) -> AnnData:
    """An AnnData with one row a sequence (or token), vectors in ``obsm``; see :func:`biolm.embed`.

    Raises
    ------
    BiolmError
        If file or model cannot be used.
    """
    if settings.resume:
        raise ConfigError("resume is for jobs that write a file; give an output")
    reader = sequence_model(model)
    with _file(path) as (place, label):
        job = prepare_sequences(place, reader, settings, label)
        vectors = np.empty(job.shape, np.float32)
        start = 0
        for part in job.vectors():
            vectors[start : start + len(part)] = part
            start += len(part)
        return to_anndata(job.rows, job.result(vectors))


def embed_sequences_file(
    path: str | Path, output: str | Path, model: object, settings: SequenceSettings
) -> EmbedSummary:
    """Embed the records of a file and write the result to ``output``.

    Parameters
    ----------
    path
        Any file that :func:`biolm.io.sequences.open_sequences` reads; ``-`` for the standard input.
    output
        ``.h5ad``, ``.zarr``, ``.parquet``, ``.npy`` or ``.pt``.
    model
        Name, folder or loaded model.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        If input, model or output cannot be used; nothing half-written is left.
    """
    began = time.monotonic()
    target = Path(output)
    form = format_of(target, settings.format, FORMATS)
    if str(path) == "-" and settings.resume:
        raise ConfigError("a job that reads the standard input cannot be resumed; give a file")
    for final in [target, side_car(target)] if form == "npy" else [target]:
        refuse_existing(final, overwrite=settings.overwrite)
    reader = sequence_model(model)
    with _file(path) as (place, label):
        job = prepare_sequences(place, reader, settings, label)
        partial = Partial(target, _job_facts(job), job.shape, job.borders)
        with partial.open(resume=settings.resume, overwrite=settings.overwrite):
            check_free_space(target, 8 * job.shape[0] * job.shape[1])
            for vectors in job.vectors(start=partial.done):
                partial.append(vectors)
            result = job.result(partial.vectors())
            made = partial.folder / f"output.{form}"
            with writing(target):
                _write(made, form, job.rows, result)
                if form == "npy":
                    install(side_car(made), side_car(target))
                install(made, target)
    return EmbedSummary(
        output=target,
        format=form,
        key=job.key,
        cells=job.shape[0],
        width=job.shape[1],
        empty=0,
        seconds=time.monotonic() - began,
        provenance=result.provenance,
    )


@contextmanager
def _file(path: str | Path) -> Iterator[tuple[Path, str]]:
    """The file and its name for messages; the standard input is read twice, so it is laid down first."""
    if str(path) != "-":
        yield Path(path), str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "stdin"
        with place.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield place, "the standard input"


def _write(target: Path, form: str, rows: SequenceRows, result: CellVectors) -> None:
    if form != "pt":
        write_rows(target, form, rows, result)
        return
    import torch

    held: dict[str, Any] = {
        "key": result.key,
        "names": rows.kept.tolist(),
        "vectors": torch.from_numpy(result.whole()),
        "biolm": result.provenance,
    }
    if rows.spans is not None:
        ends = np.concatenate([[0], np.cumsum(rows.counts[rows.counts > 0])])
        held["offsets"] = torch.from_numpy(ends)
    torch.save(held, target)


def _job_facts(job: SequenceJob) -> dict[str, Any]:
    """What makes two jobs the same: what was read, by which model, how."""
    chosen, state = job.settings, job.path.stat()
    names = ("pool", "batch_tokens", "device", "hidden_state", "precision", "block_rows")
    more = ("letters", "windows", "window", "overlap", "per_residue")
    return {
        "input": {
            "stamp": digest({"file": [state.st_size, state.st_mtime_ns]}),
            "records": len(job.rows.names),
            "names": digest({"names": job.rows.names}),
        },
        "model": job.facts,
        "options": {name: getattr(chosen, name) for name in (*names, *more)},
    }
