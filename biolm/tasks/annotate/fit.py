"""Fit an annotator: read labelled cells, measure on held-out ones, fit on all, write a folder.

Dimensions: ``n`` training cells · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import biolm
from biolm.errors import ConfigError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellSource
from biolm.io.provenance import plain
from biolm.jobs.bind import loaded
from biolm.jobs.cells import CellEmbedding, prepare
from biolm.models.model import CellModel
from biolm.options import read_options
from biolm.progress import log
from biolm.scoring.splits import Split, holdout
from biolm.tasks.annotate.annotator import Annotator, Head, reference_of
from biolm.tasks.annotate.cells import ChosenCells, LabelledCells, Labels, read_labels, read_training, wanted
from biolm.tasks.annotate.expression import ExpressionSpace, log_normalised
from biolm.tasks.annotate.frozen import Points, fit_frozen, fit_variants
from biolm.tasks.annotate.page import write_page
from biolm.tasks.annotate.score import (
    GOOD_CALIBRATION,
    Row,
    baseline_rows,
    row,
    shown,
    strange_test,
    unknown_test,
    verdict,
)
from biolm.tasks.annotate.settings import FitSettings
from biolm.tasks.annotate.tune import TRAINED, TunedModel, gene_points, read_tokens, token_model, train

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["fit"]


def fit(
    data: str | Path | AnnData,
    *,
    label: str | Sequence[str],
    model: str | Path | CellModel = "genetext",
    output: str | Path | None = None,
    **options: Any,
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
    settings: FitSettings = read_options(FitSettings, options, "annotate fit")
    settings.check_modality("cells")
    names = [label] if isinstance(label, str) else list(label)
    if not names or len(set(names)) < len(names):
        raise ConfigError("name one label column, or several different ones (`label`)")
    if output is not None:
        refuse_existing(Path(output), overwrite=settings.overwrite)
    with open_table(data, matrix=settings.matrix) as source:
        annotator = _fit(source, names, model, settings)
    if output is not None:
        with replacing(Path(output), overwrite=settings.overwrite) as folder:
            folder.mkdir()
            annotator.save(folder)
            write_page(annotator, folder / "report.html")
    return annotator


def _fit(
    source: CellSource, names: Sequence[str], model: str | Path | CellModel, settings: FitSettings
) -> Annotator:
    every = read_labels(source, names, settings.leave_out)
    rows = wanted(every, settings)
    found = loaded(model)
    trained = settings.method in TRAINED
    if trained:
        token_model(found)
    job = prepare(ChosenCells(source, rows), found, settings)
    labels = tuple(column.take(rows) for column in every)
    cells = read_training(job, labels, settings, embed=not trained)
    reference = reference_of(found, model)
    used: CellModel = found
    if trained:
        used, heads = _train(job, cells, settings)
    else:
        heads = [_freeze(cells, column, settings) for column in cells.labels]
    for head in heads:
        _warn(head)
    return Annotator(
        model=used,
        reference=reference,
        embedding={
            "pool": settings.pool,
            "hidden_state": settings.hidden_state,
            "match": settings.match,
        },
        space=ExpressionSpace.of(cells.vocabulary, cells.counts, settings.seed),
        heads=tuple(heads),
        facts=_provenance(job, settings),
    )


def _freeze(cells: LabelledCells, column: Labels, settings: FitSettings) -> Head:
    """Measure a frozen method on held-out cells, then fit it on all."""
    log.info("fitting %s: %s cells, %s classes", column.name, f"{len(cells):,}", len(column.classes))
    points = Points(
        cells.vectors,
        log_normalised(cells.counts),
        column.codes,
        len(column.classes),
        cells.batches,
        cells.copies,
    )
    split = _split(cells, column, settings)
    # What the parts do alone tells whether the model's vectors add anything.
    parts = ["joint", "embedding", "expression"] if _joins(settings) else [settings.features]
    variants = fit_variants(points.take(split.train), settings, parts)
    tested = points.take(split.test)
    rows, first = [], variants[parts[0]].probabilities(tested.vectors, tested.table)
    for kind, variant in variants.items():
        name = "biolm knn" if settings.method == "knn" else f"biolm {settings.method}, {kind}"
        found = variant.probabilities(tested.vectors, tested.table)
        rows.append(row(name, tested.codes, found, settings.seed))
        rows[-1].facts["members"] = ", ".join(variant.recipe)
    unknown = unknown_test(points, split, variants[settings.features], column.classes, settings)
    report = _report(cells, column, split, rows, settings)
    report |= {"unknown": unknown, "shown": shown(tested.codes, first)}
    return Head(column.name, column.classes, fit_frozen(points, settings), report)


def _train(job: CellEmbedding, cells: LabelledCells, settings: FitSettings) -> tuple[TunedModel, list[Head]]:
    """Train the model on what is not held out, and measure it on what is."""
    split = _split(cells, cells.labels[0], settings)
    tokens = read_tokens(job)
    log.info("training (%s) on %s cells", settings.method, f"{len(split.train):,}")
    made, classifiers = train(token_model(job.model), tokens, cells, split.train, settings)
    logits = made.logits(tokens.take(split.test), settings.batch_tokens, settings.device)
    heads = []
    for column, frozen in zip(cells.labels, classifiers, strict=True):
        found = frozen.probabilities(logits, None)
        rows = [row(f"biolm {settings.method}", column.codes[split.test], found, settings.seed)]
        report = _report(cells, column, split, rows, settings)
        unknown = strange_test(gene_points(cells, column), split, frozen, column.classes, settings)
        report |= {"unknown": unknown, "shown": shown(column.codes[split.test], found)}
        heads.append(Head(column.name, column.classes, frozen, report))
    return made, heads


def _split(cells: LabelledCells, column: Labels, settings: FitSettings) -> Split:
    names = column.codes.astype(str)
    return holdout(
        names,
        share=settings.test_share,
        groups=cells.batches,
        copies=cells.copies,
        seed=settings.seed,
    )


def _report(
    cells: LabelledCells,
    column: Labels,
    split: Split,
    rows: list[Row],
    settings: FitSettings,
) -> dict[str, Any]:
    """Scores of the method first, of its parts, and of the baselines on the same split."""
    baselines = baseline_rows(cells.counts, column.codes, split, settings.seed)
    scores = {
        "held_out": rows[0].facts,
        "parts": [each.facts for each in rows[1:]],
        "baselines": [each.facts for each in baselines],
        "verdict": verdict(rows, baselines),
    }
    return _facts(cells, column, split, settings) | scores


def _warn(head: Head) -> None:
    """Say it where confidence does not mean what it says."""
    held = head.report["held_out"]
    if not held["calibrated"]:
        log.warning(
            "confidence of %s is not well calibrated: ECE %.3f on held-out cells, above %s",
            head.label,
            held["ece"],
            GOOD_CALIBRATION,
        )


def _provenance(job: CellEmbedding, settings: FitSettings) -> dict[str, Any]:
    chosen = ("method", "features", "batch", "leave_out", "test_share", "reject", "seed")
    facts: dict[str, Any] = plain(
        {
            "biolm_version": biolm.__version__,
            "settings": {name: getattr(settings, name) for name in chosen},
            "matrix": job.source.matrix,
            "genes": job.match.report.as_dict(),
            "cells": job.source.n_cells,
        }
    )
    return facts


def _joins(settings: FitSettings) -> bool:
    """Whether vectors and expression are read together."""
    return settings.method == "linear" and settings.features == "joint"


def _facts(cells: LabelledCells, column: Labels, split: Split, settings: FitSettings) -> dict[str, Any]:
    """What was split, and how."""
    sizes = np.bincount(column.codes, minlength=len(column.classes))
    facts: dict[str, Any] = {
        "cells": len(cells),
        "classes": {name: int(size) for name, size in zip(column.classes, sizes, strict=True)},
        "train_cells": len(split.train),
        "test_cells": len(split.test),
        "identical_cells": len(cells) - len(np.unique(cells.copies)),
        "split": "stratified" if cells.batches is None else f"whole groups of {settings.batch}",
    }
    if cells.batches is not None:
        facts["test_batches"] = sorted(set(cells.batches[split.test].tolist()))
    return facts
