"""Fit an annotator: read labelled cells, measure on held-out ones, fit on all, write a folder.

Dimensions: ``n`` training cells · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

import biolm
from biolm.errors import ConfigError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.cells import CellSource, open_cells
from biolm.io.provenance import plain
from biolm.models.base import CellModel
from biolm.tasks.annotate.annotator import Annotator, Head, reference_of
from biolm.tasks.annotate.cells import ChosenCells, LabelledCells, Labels, read_labels, read_training, wanted
from biolm.tasks.annotate.expression import ExpressionSpace, log_normalised
from biolm.tasks.annotate.frozen import Points, fit_frozen
from biolm.tasks.annotate.score import GOOD_CALIBRATION, baseline_rows, row, unknown_test
from biolm.tasks.annotate.settings import FitKeywords, FitSettings
from biolm.tasks.embed_run import prepare
from biolm.tasks.fit import loaded
from biolm.tasks.progress import log
from biolm.tasks.splits import Split, copies_of, holdout

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["fit"]


def fit(
    data: str | Path | AnnData,
    *,
    label: str | Sequence[str],
    model: str | Path | CellModel = "genetext",
    output: str | Path | None = None,
    **options: Unpack[FitKeywords],
) -> Annotator:
    """Learn to name cells from labelled ones.

    Parameters
    ----------
    data
        A path or an AnnData with raw counts and labels.
    label
        Column of ``obs`` to learn, or several.
    model
        Built-in name, folder, hub id or loaded model.
    output
        Folder to write the annotator to.
    options
        See :class:`biolm.tasks.annotate.settings.FitSettings`.

    Returns
    -------
    The annotator, with held-out scores beside those of the baselines in ``heads[i].report``.

    Raises
    ------
    BiolmError
        If labels, cells or model cannot be used; nothing half-written is left.

    Examples
    --------
    >>> annotator = fit("data/cells/pbmc_cite_10k.h5ad", label="cell_type", leave_out=("other",))
    >>> annotator.heads[0].classes
    ('B', 'CD14 mono', 'CD4 T', 'CD8 T', 'NK')
    """
    settings = FitSettings(**options)
    names = [label] if isinstance(label, str) else list(label)
    if not names or len(set(names)) < len(names):
        raise ConfigError("name one label column, or several different ones (--label)")
    if output is not None:
        refuse_existing(Path(output), overwrite=settings.overwrite)
    with open_cells(data, matrix=settings.matrix) as source:
        annotator = _fit(source, names, model, settings)
    if output is not None:
        with replacing(Path(output), overwrite=settings.overwrite) as folder:
            folder.mkdir()
            annotator.save(folder)
    return annotator


def _fit(
    source: CellSource, names: Sequence[str], model: str | Path | CellModel, settings: FitSettings
) -> Annotator:
    every = read_labels(source, names, settings.leave_out)
    rows = wanted(every, settings)
    found = loaded(model)
    job = prepare(ChosenCells(source, rows), found, settings)
    cells = read_training(job, tuple(column.take(rows) for column in every), settings)
    table = log_normalised(cells.counts)
    copies = copies_of(cells.counts)
    heads = []
    for column in cells.labels:
        log.info("fitting %s: %s cells, %s classes", column.name, f"{len(cells):,}", len(column.classes))
        points = Points(cells.vectors, table, column.codes, len(column.classes), cells.batches, copies)
        heads.append(_head(points, cells, column, settings))
    facts = {
        "biolm_version": biolm.__version__,
        "settings": {
            name: getattr(settings, name)
            for name in ("method", "features", "batch", "leave_out", "test_share", "reject", "seed")
        },
        "matrix": source.matrix,
        "genes": job.match.report.as_dict(),
        "cells": len(cells),
    }
    return Annotator(
        model=found,
        reference=reference_of(found, model),
        embedding={"pool": settings.pool, "hidden_state": settings.hidden_state},
        space=ExpressionSpace.of(cells.vocabulary, cells.counts),
        heads=tuple(heads),
        facts=plain(facts),
    )


def _head(points: Points, cells: LabelledCells, column: Labels, settings: FitSettings) -> Head:
    """Measure on held-out cells, then fit on all."""
    split = holdout(
        column.codes.astype(str),
        share=settings.test_share,
        groups=points.batches,
        copies=points.copies,
        seed=settings.seed,
    )
    measured = fit_frozen(points.take(split.train), settings)
    tested = points.take(split.test)
    report = _facts(points, column, split, settings)
    report["held_out"] = row(
        f"biolm {settings.method}",
        tested.codes,
        measured.probabilities(tested.vectors, tested.table),
        settings.seed,
    ) | {"members": ", ".join(measured.recipe)}
    report["baselines"] = baseline_rows(cells.counts, points.codes, split, settings.seed)
    report["unknown"] = unknown_test(points, split, measured, column.classes, settings)
    if not report["held_out"]["calibrated"]:
        log.warning(
            "confidence of %s is not well calibrated: ECE %.3f on held-out cells, above %s",
            column.name,
            report["held_out"]["ece"],
            GOOD_CALIBRATION,
        )
    return Head(column.name, column.classes, fit_frozen(points, settings), report)


def _facts(points: Points, column: Labels, split: Split, settings: FitSettings) -> dict[str, Any]:
    """What was split, and how."""
    sizes = np.bincount(points.codes, minlength=len(column.classes))
    facts: dict[str, Any] = {
        "cells": len(points.codes),
        "classes": {name: int(size) for name, size in zip(column.classes, sizes, strict=True)},
        "train_cells": len(split.train),
        "test_cells": len(split.test),
        "identical_cells": len(points.copies) - len(np.unique(points.copies)),
        "split": "stratified" if points.batches is None else f"whole groups of {settings.batch}",
    }
    if points.batches is not None:
        facts["test_batches"] = sorted(set(points.batches[split.test].tolist()))
    return facts
