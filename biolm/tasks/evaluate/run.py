"""Evaluate embeddings: metrics, probes and curves, always beside their baselines.

Dimensions: ``n`` cells · ``d`` width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import biolm
from biolm.io.atomic import refuse_existing, tidy
from biolm.models.model import CellModel
from biolm.options import read_options
from biolm.progress import log
from biolm.scoring.baselines import fit_majority
from biolm.scoring.quality import Score
from biolm.scoring.splits import Split, holdout, kfold
from biolm.scoring.verdicts import against_best
from biolm.tasks.evaluate.data import EvaluationData, read
from biolm.tasks.evaluate.integration import integration_metrics, need_library
from biolm.tasks.evaluate.methods import PCA, baseline_vectors, knn_methods, linear_methods
from biolm.tasks.evaluate.probes import Calls, LabelCurve, Method, cross_validated, label_curve
from biolm.tasks.evaluate.robustness import robustness
from biolm.tasks.evaluate.settings import EvaluateSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["REPORT", "SHUFFLED", "Evaluation", "evaluate", "evaluate_data"]

SHUFFLED = f"{PCA}, labels shuffled"
REPORT = "report.html"
MAJORITY = "majority class"


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """What an evaluation found.

    Parameters
    ----------
    embeddings
        Names of the embeddings under test; every other method is a baseline or a control.
    integration
        Value of every metric of :data:`biolm.tasks.evaluate.integration.EXPLAIN` by method.
    knn, linear
        Scores of the cross-validated probes.
    calls
        Out-of-fold calls of the linear probe on each embedding under test.
    verdicts
        Sentences about the embeddings and the best baseline, by probe.
    few_shot, label_share, reads, genes
        Curves of macro-F1, where they were taken.
    provenance
        How all of it was made: plain values.
    """

    embeddings: tuple[str, ...]
    integration: Mapping[str, Mapping[str, float | None]]
    knn: tuple[Score, ...]
    linear: tuple[Score, ...]
    calls: tuple[Calls, ...]
    verdicts: Mapping[str, tuple[str, ...]]
    few_shot: LabelCurve | None = None
    label_share: LabelCurve | None = None
    reads: LabelCurve | None = None
    genes: LabelCurve | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def evaluate(
    data: str | Path | AnnData,
    embeddings: str | Sequence[str] = (),
    *,
    label: str,
    batch: str | None = None,
    model: str | Path | CellModel | Sequence[str | Path | CellModel] = (),
    output: str | Path | None = None,
    **options: Any,
) -> Evaluation:
    """Say what embeddings are worth, beside PCA, variable genes and logistic regression on the counts.

    Parameters
    ----------
    data
        An AnnData, or an h5ad or zarr, with raw counts and the embeddings in ``obsm``; with ``model`` alone
        any table of cells, or the folder of a section.
    embeddings
        Keys of ``obsm``; may be left out where ``model`` is given.
    label, batch
        Columns of ``obs``: cell types, and what integration should remove.
    model
        Models under test: their embedding ``X_<model>`` is scored, and made where ``obsm`` lacks it. How they
        stand fewer reads and missing genes is measured too, as for embeddings that biolm made with a model
        at hand.
    output
        Folder to write scores (JSON, TSV), plots (SVG, PNG) and ``report.html`` to.
    options
        See :class:`biolm.tasks.evaluate.settings.EvaluateSettings`.

    Raises
    ------
    BiolmError
        If data or settings cannot be used, or a file of ``output`` exists and ``overwrite`` is not set.

    Examples
    --------
    >>> import anndata
    >>> cells = anndata.read_h5ad("data/cells/pbmc_cite_10k.h5ad")
    >>> cells.obsm["X_first"] = cells.X[:, :20].toarray()
    >>> found = evaluate(cells, "X_first", label="cell_type", integration=False, curves=False)
    >>> [score.name for score in found.knn]
    ['X_first', 'PCA-50', 'HVG-2000', 'majority class', 'PCA-50, labels shuffled']
    """
    settings: EvaluateSettings = read_options(
        EvaluateSettings, {"label": label, "batch": batch, **options}, "evaluate"
    )
    keys = (embeddings,) if isinstance(embeddings, str) else tuple(embeddings)
    # A missing package shows now and not after an hour of probes.
    if settings.integration:
        need_library()
    if output is not None:
        folder = Path(output)
        # What a killed run left behind would count as an existing result.
        tidy(folder)
        refuse_existing(folder / REPORT if folder.is_dir() else folder, overwrite=settings.overwrite)
    models = (model,) if isinstance(model, str | Path | CellModel) else tuple(model)
    cells = read(data, keys, settings, models)
    evaluation, vectors = evaluate_data(cells, settings)
    if output is not None:
        from biolm.tasks.evaluate.files import write

        write(Path(output), evaluation, cells, vectors, settings)
    return evaluation


def evaluate_data(data: EvaluationData, settings: EvaluateSettings) -> tuple[Evaluation, dict[str, Any]]:
    """Evaluate cells that were read; also gives the vectors of every method, baselines included.

    Parameters
    ----------
    data
        The scored cells.
    settings
        Choices of the job.
    """
    seed = settings.seed
    log.info("%s cells, %s", f"{len(data.labels):,}", ", ".join(data.vectors))
    # Baselines are scored by the same probes on the same folds as what is evaluated.
    vectors = data.vectors | baseline_vectors(data, seed)
    # Shuffled labels show what each score is worth by chance.
    shuffled = np.random.default_rng(seed).permutation(len(data.labels))
    splits = kfold(data.labels, folds=settings.folds, groups=data.groups, copies=data.copies, seed=seed)
    log.info("probes: %d folds%s", len(splits), f" by {settings.groups}" if settings.groups else "")
    methods = linear_methods(data, vectors)
    knn = _probed(data, knn_methods(vectors), splits, shuffled, settings)
    linear = _probed(data, methods, splits, shuffled, settings)
    scores = {
        name: tuple(calls.score(seed) for calls in probed)
        for name, probed in (("knn", knn), ("linear", linear))
    }
    integration = _integration(data, vectors, shuffled, seed) if settings.integration else {}
    few_shot, label_share = _curves(data, methods, settings) if settings.curves else (None, None)
    reads, genes = robustness(data, settings) if settings.robustness else (None, None)
    evaluation = Evaluation(
        embeddings=tuple(data.vectors),
        integration=integration,
        **scores,
        calls=tuple(calls for calls in linear if calls.name in data.vectors),
        verdicts={name: _verdict(probed, data) for name, probed in scores.items()},
        few_shot=few_shot,
        label_share=label_share,
        reads=reads,
        genes=genes,
        provenance=_provenance(data, settings, len(splits)),
    )
    return evaluation, vectors


def _probed(
    data: EvaluationData,
    methods: Sequence[Method],
    splits: Sequence[Split],
    shuffled: Any,
    settings: EvaluateSettings,
) -> list[Calls]:
    """Calls of one probe on every method, and of the controls."""
    seed = settings.seed
    floor = Method(MAJORITY, data.counts, fit_majority)
    calls = [cross_validated(method, data.labels, splits, seed) for method in (*methods, floor)]
    mixed = data.labels[shuffled]
    # Folds of their own: those of the true labels would leave types out of some training sides.
    folds = kfold(mixed, folds=settings.folds, groups=data.groups, copies=data.copies, seed=seed)
    components = next(method for method in methods if method.name == PCA)
    return [*calls, cross_validated(replace(components, name=SHUFFLED), mixed, folds, seed)]


def _integration(
    data: EvaluationData, vectors: Mapping[str, Any], shuffled: Any, seed: int
) -> dict[str, dict[str, float | None]]:
    before = vectors[PCA]
    mixed = None if data.batch is None else data.batch[shuffled]
    rows = [(name, table, data.labels, data.batch) for name, table in vectors.items()]
    # Labels and batches shuffled alike: their link to each other stays, that to the vectors goes.
    rows.append((SHUFFLED, before, data.labels[shuffled], mixed))
    metrics = {}
    for place, (name, table, labels, batch) in enumerate(rows, 1):
        log.info("integration metrics: %s (%d of %d)", name, place, len(rows))
        metrics[name] = integration_metrics(table, labels, batch, before=before, seed=seed)
    return metrics


def _curves(
    data: EvaluationData, methods: Sequence[Method], settings: EvaluateSettings
) -> tuple[LabelCurve, LabelCurve]:
    seeds = range(settings.seed, settings.seed + settings.draws)
    splits = [
        holdout(data.labels, share=0.3, groups=data.groups, copies=data.copies, seed=seed) for seed in seeds
    ]
    few_shot, label_share = (
        label_curve(methods, data.labels, splits, points=points, shots=shots, seed=settings.seed)
        for points, shots in ((settings.shots, True), (settings.shares, False))
    )
    return few_shot, label_share


def _verdict(scores: Sequence[Score], data: EvaluationData) -> tuple[str, ...]:
    """Each embedding against the best baseline on the same labels."""
    baselines = [score for score in scores if score.name not in data.vectors and score.name != SHUFFLED]
    return tuple(against_best(score, baselines) for score in scores if score.name in data.vectors)


def _provenance(data: EvaluationData, settings: EvaluateSettings, folds: int) -> dict[str, Any]:
    """How the scores were made; no date and no path."""
    record = data.table.uns.get("biolm", {})
    return {
        "biolm": biolm.__version__,
        "data": data.name,
        "cells scored": len(data.labels),
        "labelled cells": data.total,
        "cells with the same counts as another": int(len(data.copies) - len(np.unique(data.copies))),
        "label": settings.label,
        "types": len(np.unique(data.labels)),
        "batch": settings.batch or "",
        "folds": folds,
        "folds by": settings.groups or "cell, types alike",
        "draws": settings.draws,
        "matrix": settings.matrix,
        "seed": settings.seed,
        **{key: record[key] for key in data.vectors if key in record},
    }
