"""The report of a fit as a page for people.

Dimensions: ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from biolm.report.plots import CalibrationPlot, Confusion
from biolm.report.report import Part, write_report
from biolm.report.tables import ClassTable, ScoreRow, ScoreTable
from biolm.scoring.calls import Calibration, ClassScore
from biolm.tasks.annotate.annotator import Annotator, Head
from biolm.tasks.annotate.table import learned, words_of

__all__ = ["write_page"]


def write_page(annotator: Annotator, path: Path) -> None:
    """Write scores beside the baselines, confusion, calibration and a table of classes, label by label.

    Parameters
    ----------
    annotator
        With its scores.
    path
        HTML to write.
    """
    write_report(
        path,
        title="Annotator: " + ", ".join(head.label for head in annotator.heads),
        summary=[
            f"{head.label}: {learned(head.report)}. All scores are of the held-out cells."
            for head in annotator.heads
        ],
        parts=[part for head in annotator.heads for part in _parts(head)],
        provenance={"model": annotator.reference["facts"], "fit": annotator.provenance},
    )


def _parts(head: Head) -> list[Part]:
    report = head.report
    scores, shown = report["held_out"], report["shown"]
    counts = np.array(shown["confusion"])
    calibration = shown["calibration"]
    bins = {name: np.array(calibration[name]) for name in ("confidence", "accuracy", "cells")}
    rows = [_row(row, own=True) for row in (scores, *report["parts"])]
    rows += [_row(row, own=False) for row in report["baselines"]]
    return [
        ScoreTable(title=f"{head.label}: scores", rows=rows, verdict=words_of(report)),
        Confusion(title=f"{head.label}: confusion", names=head.classes, counts=counts),
        CalibrationPlot(
            title=f"{head.label}: calibration", calibration=Calibration(**bins, ece=scores["ece"])
        ),
        ClassTable(title=f"{head.label}: classes", rows=_classes(head.classes, counts)),
    ]


def _row(row: Mapping[str, Any], *, own: bool) -> ScoreRow:
    return ScoreRow(
        name=row["name"],
        value=row["macro_f1"],
        low=row["low"],
        high=row["high"],
        accuracy=row["accuracy"],
        is_model=own,
    )


def _classes(names: tuple[str, ...], counts: Any) -> list[ClassScore]:
    """Scores of the classes that were tested, from the confusion ``(c, c)``."""
    scores = []
    for place, name in enumerate(names):
        hits, cells, called = (
            int(each) for each in (counts[place, place], counts[place].sum(), counts[:, place].sum())
        )
        # A class that no held-out cell has was not tested, and 0 would say that it was missed.
        if cells:
            precision = hits / called if called else 0.0
            scores.append(ClassScore(name, precision, hits / cells, 2 * hits / (called + cells), cells))
    return scores
