"""The report of a fit as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from biolm.tasks.annotate.score import GOOD_CALIBRATION

__all__ = ["rows_of", "table_of", "words_of"]


def table_of(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of scores for each label, biolm first, and what it means in words."""
    return "\n\n".join(_one(label, report) for label, report in reports.items())


def _one(label: str, report: Mapping[str, Any]) -> str:
    head = (
        f"{label}: {report['train_cells']:,} cells to learn from, {report['test_cells']:,} held out "
        f"({report['split']})"
    )
    held = report["held_out"]
    rows = [held, *report["parts"], *report["baselines"]]
    return "\n".join([head, "", rows_of(rows), "", *words_of(report)])


def rows_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of scores as text."""
    width = max(len(row["name"]) for row in rows)
    head = f"{'':{width}}  macro-F1  95 % interval   accuracy  ECE"
    return "\n".join([head, *(_row(row, width) for row in rows)])


def _row(row: Mapping[str, Any], width: int) -> str:
    interval = f"{row['low']:.3f}-{row['high']:.3f}"
    return (
        f"{row['name']:{width}}  {row['macro_f1']:.3f}     {interval}     {row['accuracy']:.3f}"
        f"     {row['ece']:.3f}"
    )


def words_of(report: Mapping[str, Any]) -> list[str]:
    """What the scores mean, in sentences."""
    held, unknown = report["held_out"], report["unknown"]
    # Annotators of before say nothing here: the comparison needs the calls.
    words = list(report.get("verdict", ()))
    if held["calibrated"]:
        words.append(f"Confidence is calibrated: ECE at most {GOOD_CALIBRATION}.")
    else:
        words.append(f"Confidence is not well calibrated: ECE above {GOOD_CALIBRATION}.")
    if unknown["rejected"] is None:
        words.append("It was not tested whether cells of an unknown type are noticed.")
    else:
        words.append(
            f"Of a type that was left out of training, {unknown['rejected']:.0%} of the cells are called "
            f"unknown{_of_known(unknown)}"
        )
    return words


def _of_known(unknown: Mapping[str, Any]) -> str:
    """How often known types are; a held-out part of one class alone has none to compare with."""
    if unknown["known_rejected"] is None:
        return "; all held-out cells are of one class, so known types were not tested."
    return f"; of known types {unknown['known_rejected']:.0%} (AUROC {unknown['auroc']:.2f})."
