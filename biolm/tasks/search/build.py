"""Build a reference to search in, from one or many files of cells.

Dimensions: ``n`` reference cells · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.common_options import Seed
from biolm.errors import ConfigError, InputError
from biolm.extras import need
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellBlock, CellSource
from biolm.io.cells.labels import label_column
from biolm.io.provenance import plain
from biolm.jobs.bind import loaded
from biolm.jobs.cells import CellEmbedding, prepare
from biolm.jobs.job import Job, check_outputs
from biolm.jobs.precision import settled
from biolm.jobs.settings import CellSettings, Resumable
from biolm.jobs.spool import Parts
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.models.model import CellModel
from biolm.options import Option, check_options, read_options
from biolm.progress import log
from biolm.tasks.search.approximate import KINDS, candidates, make_graph
from biolm.tasks.search.calibrate import calibrate
from biolm.tasks.search.exact import METRICS, directions, exact_neighbours, refine
from biolm.tasks.search.index import CellTable, Index, load, save

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["IndexSettings", "build", "make_index"]

_ROWS = 8192
_RECALL_CELLS, _RECALL_K = 300, 10


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """Choices of an index.

    Parameters
    ----------
    label
        Column of the cell table to transfer to queries; every file must have it.
    batch
        Column of batches: when the usual distance between cells is measured, neighbours of a cell's own
        batch do not count, so that a new batch is not out of reference for being new.
    metric
        ``cosine`` or ``euclidean``.
    index
        ``exact``; ``hnsw`` or ``ivf`` for millions of cells (needs faiss).
    threads
        Of ``hnsw``; with more than one, its links depend on timing and two builds may differ.
    seed
        Seeds the samples.

    Raises
    ------
    ConfigError
        If a value is not known.
    """

    label: Annotated[str | None, Option(help="Column of labels to transfer to queries.", shown="none")] = None
    batch: Annotated[str | None, Option(help="Column of batches, left out as a whole.", shown="none")] = None
    metric: Annotated[str, Option(help="cosine or euclidean.", choices=tuple(METRICS))] = "cosine"
    index: Annotated[str, Option(help="exact; hnsw or ivf for millions of cells.", choices=tuple(KINDS))] = (
        "exact"
    )
    threads: Annotated[
        int, Option(help="Threads that build hnsw; more than 1 vary.", min=1, needs=("index=hnsw",))
    ] = 1
    seed: Seed = 0

    def __post_init__(self) -> None:
        self.check_index()

    def check_index(self) -> None:
        """Check the choices of the index.

        Raises
        ------
        ConfigError
            If a value is not known, or threads are given to an index that is built by one.
        """
        check_options(self)
        if self.index != "exact":
            need(f"index {self.index}", "search", "faiss")


@dataclass(frozen=True, kw_only=True)
class BuildSettings(IndexSettings, CellSettings, Resumable):
    """How reference cells are read and embedded, and which index is made."""


def build(
    references: str | Path | AnnData | Sequence[str | Path | AnnData],
    *,
    model: str | Path | CellModel = DEFAULT_MODEL,
    output: str | Path | None = None,
    **options: Any,
) -> Index:
    """Embed reference cells and make an index to search in.

    Parameters
    ----------
    references
        One or many AnnData objects or paths of h5ad, zarr, loom, 10x or csv tables.
    model
        Built-in name, folder of a checkpoint, hub id, or a loaded model.
    output
        Folder to write; needed for paths larger than memory. It appears whole or not at all.
    options
        See :class:`IndexSettings`: ``label``, ``batch``, ``metric``, ``index`` and ``threads``; those of how
        cells are read and embedded are as for :func:`biolm.embed`. ``resume`` goes on with an interrupted
        build, file by file.

    Raises
    ------
    BiolmError
        If a file, the model or the output cannot be used, with the reason and what to do.

    Examples
    --------
    >>> made = build("data/cells/pbmc68k_reduced_counts_700.h5ad", label="cell_type")
    >>> len(made), made.metric
    (700, 'cosine')
    """
    chosen: BuildSettings = read_options(BuildSettings, options, "search build")
    many = [references] if not isinstance(references, Sequence) or isinstance(references, str) else references
    if not many:
        raise ConfigError("an index needs at least one file of reference cells")
    if output is None and chosen.resume:
        raise ConfigError("`resume` is for an index that is written; give an output")
    target = None if output is None else Path(output)
    if target is not None:
        check_outputs(target, (target.suffix,), chosen)
    reader = loaded(model)
    with ExitStack() as stack:
        jobs = []
        for data in many:
            source = stack.enter_context(open_table(data, matrix=chosen.matrix))
            jobs.append(prepare(source, reader, chosen, partial(_matrix_of, data)))
        cells, batches = _tables(jobs, many, chosen)
        # The first file decides for all: an index holds vectors of one precision.
        first = settled(jobs[0], resume=target if chosen.resume else None)
        jobs = [job.with_settings(first.settings, first.choice) for job in jobs]
        metadata = _metadata(jobs, chosen, _spoken(model))
        if target is None:
            parts = [part for job in jobs for part in job.vectors()]
            return make_index(np.concatenate(parts), cells, chosen, metadata=metadata, batches=batches)
        return _build_folder(target, jobs, cells, batches, chosen, metadata)


def make_index(
    vectors: NDArray[np.float32],
    cells: CellTable,
    settings: IndexSettings,
    *,
    metadata: dict[str, Any] | None = None,
    batches: NDArray[np.int64] | None = None,
    store: NDArray[np.float32] | None = None,
) -> Index:
    """An index of vectors that were made already.

    Parameters
    ----------
    vectors
        ``(n, d)``; rows of zeros (cells without counts) are left out.
    cells
        Who they are, ``(n,)``.
    settings
        Metric and kind.
    metadata
        More for ``index.json``.
    batches
        ``(n,)`` codes, for :func:`~biolm.tasks.search.calibrate.calibrate`.
    store
        Where the vectors go, ``(n, d)``, such as a file mapped into memory; a new array by default.

    Raises
    ------
    InputError
        If a value is not a finite number, or no cell is left.
    """
    kept: list[NDArray[np.intp]] = []
    table = np.empty(vectors.shape, np.float32) if store is None else store
    filled = 0
    for start in range(0, len(vectors), _ROWS):
        part = np.asarray(vectors[start : start + _ROWS], np.float32)
        if not np.isfinite(part).all():
            broken = start + int(np.argmin(np.isfinite(part).all(1)))
            raise InputError(f"reference vector {broken} holds values that are not finite; embed it again")
        rows = np.flatnonzero(part.any(1))
        part = part[rows]
        # At length 1 Euclidean order is that of the cosine, so one search serves both metrics.
        table[filled : filled + len(rows)] = directions(part) if settings.metric == "cosine" else part
        filled += len(rows)
        kept.append(rows + start)
    chosen = np.concatenate(kept) if kept else np.zeros(0, np.intp)
    if filled < 2:
        raise InputError(f"an index needs at least two cells with counts, but {filled} are there")
    if filled < len(vectors):
        log.warning(
            "%d reference cells hold no counts in genes of the model and are left out", len(vectors) - filled
        )
    table = table[:filled]
    codes = None if batches is None else batches[chosen]
    calibration = calibrate(table, metric=settings.metric, batches=codes, seed=settings.seed)
    graph = None
    about: dict[str, Any] = {"metric": settings.metric, "index": settings.index, "cells": filled}
    about |= {"width": vectors.shape[1], "left_out": len(vectors) - filled}
    if settings.label is not None:
        about["label"] = settings.label
    if settings.index != "exact":
        graph = make_graph(table, settings.index, seed=settings.seed, threads=settings.threads)
        about["recall"] = _recall(table, settings)
        log.info("recall of the %d nearest, on cells left out of the index: %.3f", _RECALL_K, about["recall"])
    return Index(table, cells.take(chosen), calibration, {**about, **(metadata or {})}, graph)


def _recall(vectors: NDArray[np.float32], settings: IndexSettings) -> float:
    """Fraction of the true nearest neighbours that the approximate index finds, for cells outside it.

    Sampled cells are left out of a graph made for this alone: cells of a graph are found more easily.
    """
    rng = np.random.default_rng(settings.seed)
    # Cells of the index find themselves: recall is measured on cells that a second graph lacks.
    count = min(len(vectors) // 2, _RECALL_CELLS)
    rows = np.sort(rng.choice(len(vectors), count, replace=False))
    apart = np.isin(np.arange(len(vectors)), rows)
    graph = make_graph(vectors, settings.index, seed=settings.seed, threads=settings.threads, leave_out=apart)
    queries, k = np.asarray(vectors[rows]), min(_RECALL_K, len(vectors) - count)
    sides = (np.ones(count, np.int64), apart.astype(np.int64))
    _, limit = exact_neighbours(queries, vectors, k, metric=settings.metric, groups=sides)
    # The graph numbers the rows that it holds; the last stands for none found.
    own_row = np.append(np.flatnonzero(~apart), -1)
    near = own_row[candidates(graph, queries, k)]
    _, approximate = refine(queries, vectors, near, k, metric=settings.metric)
    # Compared by distance: of cells at the same distance any will do.
    return float((approximate <= limit[:, -1:] + 1e-12).mean())


def _build_folder(
    target: Path,
    jobs: list[CellEmbedding],
    cells: CellTable,
    batches: NDArray[np.int64] | None,
    settings: IndexSettings,
    metadata: dict[str, Any],
) -> Index:
    """Embed into a folder that an interrupted build leaves behind, then write the index."""
    shape = (len(cells.names), jobs[0].model.width)
    firsts = np.cumsum([0, *(job.source.n_cells for job in jobs)])
    ends = [job.ends[:-1] + first for job, first in zip(jobs, firsts, strict=False)]

    def blocks(first: int, last: int) -> Iterator[tuple[CellEmbedding, CellBlock]]:
        start = 0
        for job in jobs:
            count = len(job.ends) - 1
            low, high = max(first - start, 0), min(last - start, count)
            if low < high:
                yield from ((job, block) for block in job.blocks(low, high))
            start += count

    def finish(parts: Parts, folder: Path) -> None:
        store = np.memmap(parts.folder / "kept.f32", np.float32, mode="w+", shape=shape)
        vectors = parts.joined("vectors")
        index = make_index(vectors, cells, settings, metadata=metadata, batches=batches, store=store)
        folder.mkdir()
        save(index, folder)

    Job(
        kind="reference",
        same={str(place): {"model": job.facts, **job.same()} for place, job in enumerate(jobs)},
        ends=np.append(np.concatenate(ends), firsts[-1]),
        blocks=blocks,
        compute=lambda pair: pair[0].compute(pair[1]),
        finish=finish,
        size=3 * 4 * shape[0] * shape[1],
        label="embedding",
        unit="cells",
    ).run(target, jobs[0].settings)  # type: ignore[arg-type]  # those of a build
    return load(target)


def _tables(
    jobs: list[CellEmbedding], references: Sequence[Any], settings: IndexSettings
) -> tuple[CellTable, NDArray[np.int64] | None]:
    """Names, sources and labels of all files, and codes of the batches."""
    names, sources, rows, labels, batches = [], [], [], [], []
    for place, (job, data) in enumerate(zip(jobs, references, strict=True)):
        source = job.source
        names.append(source.cell_names())
        title = Path(data).name if isinstance(data, str | Path) else f"cells {place}"
        sources.append(np.full(source.n_cells, title))
        rows.append(np.arange(source.n_cells))
        if settings.label is not None:
            labels.append(label_column(source, settings.label, title))
        if settings.batch is not None:
            batches.append(label_column(source, settings.batch, title))
    table = CellTable(
        np.concatenate(names),
        np.concatenate(sources),
        np.concatenate(rows),
        np.concatenate(labels) if labels else None,
    )
    if table.labels is not None and not (table.labels != "").any():
        raise InputError(f"column '{settings.label}' holds no label; choose another (`label`)")
    if not batches:
        return table, None
    batch_names, codes = np.unique(np.concatenate(batches), return_inverse=True)
    if len(batch_names) < 2:
        raise InputError(
            f"column '{settings.batch}' holds one batch alone, so none can be left out; drop `batch`"
        )
    return table, codes.astype(np.int64)


def _metadata(jobs: list[CellEmbedding], settings: IndexSettings, model: str) -> dict[str, Any]:
    """What an index says about its making; no date."""
    chosen = jobs[0].settings
    return {
        "biolm_version": biolm.__version__,
        "model": {
            "name": jobs[0].model.name,
            "source": model,
            "checkpoint": jobs[0].facts,
            "pool": plain(chosen.pool or (jobs[0].model.pools[0] if jobs[0].model.pools else "")),
            "hidden_state": chosen.hidden_state,
            "precision": chosen.precision,
            "match": chosen.match,
        },
        "seed": settings.seed,
        "batch": settings.batch,
        "files": [
            {
                "cells": job.source.n_cells,
                "matrix": job.source.matrix,
                "genes": plain(job.match.report.as_dict()),
            }
            for job in jobs
        ],
    }


def _matrix_of(data: str | Path | AnnData, name: str) -> CellSource:
    # A lambda in the loop would open the last file for all.
    return open_table(data, matrix=name)


def _spoken(model: str | Path | CellModel) -> str:
    """What :func:`biolm.load` takes to load the model again; '' for a model in memory that has no name."""
    if isinstance(model, CellModel):
        from biolm.models.registry import find

        entry = find(model.name)
        return model.name if entry is not None and entry.built_in else ""
    folder = Path(model)
    return str(folder.resolve()) if folder.is_dir() else str(model)
