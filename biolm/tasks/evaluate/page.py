"""The parts of the report's page that an evaluation fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from biolm.report.picture import umap_layout
from biolm.report.report import (
    CalibrationPlot,
    CellMap,
    ClassTable,
    Confusion,
    Curve,
    Curves,
    MetricRow,
    MetricTable,
    Part,
    ScoreRow,
    ScoreTable,
    View,
)
from biolm.scoring.calls import calibration, class_scores, confusion
from biolm.tasks.evaluate.data import EvaluationData
from biolm.tasks.evaluate.integration import EXPLAIN
from biolm.tasks.evaluate.methods import HVG, L1, L1_CELLS
from biolm.tasks.evaluate.probes import Calls, LabelCurve
from biolm.tasks.evaluate.robustness import summary
from biolm.tasks.evaluate.run import SHUFFLED, Evaluation
from biolm.tasks.evaluate.settings import EvaluateSettings

__all__ = ["cell_map", "curve_sets", "parts", "summary_text"]

KNN = "Nearest neighbours on frozen vectors (zero-shot)"
LINEAR = "Linear probe on frozen vectors"


def summary_text(evaluation: Evaluation) -> list[str]:
    """What the page says first."""
    metadata = evaluation.provenance
    scored = f"{metadata['cells scored']:,} cells of {metadata['data']} with {metadata['types']} types"
    if metadata["cells scored"] < metadata["labelled cells"]:
        scored += f", drawn at random from {metadata['labelled cells']:,} labelled cells"
    return [
        f"{', '.join(evaluation.embeddings)} on {scored}. Baselines stand beside every score; "
        f"'{SHUFFLED}' shows what chance gives.",
        *[f"By nearest neighbours, {sentence}" for sentence in evaluation.verdicts["knn"]],
        *[f"By a linear probe, {sentence}" for sentence in evaluation.verdicts["linear"]],
    ]


def parts(evaluation: Evaluation) -> list[Part]:
    """Tables and plots, in the order of the page."""
    metadata = evaluation.provenance
    folds = f"{metadata['folds']} folds by {metadata['folds by']}; the interval is a bootstrap over cells."
    page: list[Part] = [
        _scores(KNN, f"15 nearest neighbours by angle. {folds}", evaluation, "knn"),
        _scores(LINEAR, f"Logistic regression. {folds}", evaluation, "linear"),
    ]
    if evaluation.integration:
        page.append(_metrics(evaluation))
    page += curve_sets(evaluation)
    for calls in evaluation.calls:
        page += _calls(calls)
    return page


def curve_sets(evaluation: Evaluation) -> list[Curves]:
    """Every curve that was taken."""
    learnt = (
        f"Linear probe, and {L1} on all genes (up to {L1_CELLS:,} cells to learn from), tested on "
        "held-out cells (30 %); whiskers: standard deviation of the draws."
    )
    damaged = (
        f"Queries lose {{what}}, the reference is intact; type of the nearest neighbours, and {L1} on "
        "all genes. Whiskers: standard deviation of the draws."
    )
    wanted = (
        (evaluation.few_shot, "Few-shot", "labelled cells a type", learnt),
        (evaluation.label_share, "Fraction of labels", "fraction of the labelled cells", learnt),
        (evaluation.reads, "Fewer reads", "fraction of reads kept", damaged.format(what="reads")),
        (evaluation.genes, "Missing genes", "fraction of genes kept", damaged.format(what="genes")),
    )
    return [
        _curves(curve, title, label, note, evaluation)
        for curve, title, label, note in wanted
        if curve is not None and curve.x
    ]


def cell_map(data: EvaluationData, vectors: Mapping[str, Any], settings: EvaluateSettings) -> CellMap:
    """Maps of the embeddings and of the baselines, coloured by any column of the cells.

    Parameters
    ----------
    data
        The scored cells.
    vectors
        ``(n, d)`` by embedding.
    settings
        Choices of the job.
    """
    shown = {name: table for name, table in vectors.items() if name != HVG}
    views = [
        View(
            name=name,
            coordinates=umap_layout(table, seed=settings.seed),
            note="" if name in data.vectors else "baseline",
        )
        for name, table in shown.items()
    ]
    first = {settings.label: data.labels}
    if data.batch is not None:
        first[str(settings.batch)] = data.batch
    others = {
        str(name): np.asarray(data.table.obs[name].astype(str))
        if data.table.obs[name].dtype.kind not in "iuf"
        else np.asarray(data.table.obs[name])
        for name in data.table.obs
        if name not in first
    }
    return CellMap(name=data.name, cells=list(data.table.obs_names), views=views, columns={**first, **others})


def _scores(title: str, note: str, evaluation: Evaluation, probe: str) -> ScoreTable:
    scores = getattr(evaluation, probe)
    rows = [ScoreRow.of(score, is_model=score.name in evaluation.embeddings) for score in scores]
    return ScoreTable(title=title, rows=rows, note=note, verdict=evaluation.verdicts[probe])


def _metrics(evaluation: Evaluation) -> MetricTable:
    columns = [
        name
        for name in EXPLAIN
        if any(values[name] is not None for values in evaluation.integration.values())
    ]
    rows = [
        MetricRow(
            name=name,
            values=[values[c] for c in columns],
            is_model=name in evaluation.embeddings,
            is_control=name == SHUFFLED,
        )
        for name, values in evaluation.integration.items()
    ]
    return MetricTable(
        title="Integration metrics",
        columns=columns,
        rows=rows,
        explain=[EXPLAIN[name] for name in columns],
        note="scIB metrics, all from 0 (bad) to 1 (good); point at a name to read what it says. The best of "
        "each column is bold. PCR compares with principal components, which therefore score 0.",
    )


def _curves(curve: LabelCurve, title: str, label: str, note: str, evaluation: Evaluation) -> Curves:
    lines = []
    for name, values in curve.values.items():
        # Points that a method was not fitted for (too many cells) are left out of its line.
        known = ~np.isnan(values).any(0)
        mean, spread = summary(values[:, known])
        lines.append(
            Curve(
                name=name,
                x=np.asarray(curve.x)[known].tolist(),
                y=mean,
                low=[max(0.0, m - s) for m, s in zip(mean, spread, strict=True)],
                high=[min(1.0, m + s) for m, s in zip(mean, spread, strict=True)],
                is_model=name in evaluation.embeddings,
            )
        )
    return Curves(
        title=title, x_label=label, y_label="macro-F1", curves=lines, note=note, log=min(curve.x) > 0
    )


def _calls(calls: Calls) -> list[Part]:
    """Confusion, calibration and classes of the linear probe on one embedding."""
    note = "Linear probe; every cell called by a fold that never saw it."
    right = calls.called == calls.truth
    return [
        Confusion(
            title=f"Confusion of {calls.name}",
            names=calls.classes.tolist(),
            counts=confusion(calls.truth, calls.called, calls.classes),
            note=note,
        ),
        CalibrationPlot(
            title=f"Calibration of {calls.name}", calibration=calibration(calls.confidence, right), note=note
        ),
        ClassTable(
            title=f"Every type by {calls.name}", rows=class_scores(calls.truth, calls.called), note=note
        ),
    ]
