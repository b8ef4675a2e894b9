"""The report of a fit as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from biolm.tasks.annotate.score import GOOD_CALIBRATION

__all__ = ["learned", "rows_of", "table_of", "words_of"]


def table_of(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of scores for each label, biolm first, and what it means in words."""
    return "\n\n".join(_one(label, report) for label, report in reports.items())


def learned(report: Mapping[str, Any]) -> str:
    """How many rows were learned from and held out, and how."""
    # Reports of cells, sequences and rows of other packages name their own unit.
    unit = next(name for name in report if name.startswith("train_")).removeprefix("train_")
    return (
        f"{report[f'train_{unit}']:,} {unit} to learn from, {report[f'test_{unit}']:,} held out "
        f"({report['split']})"
    )


def _one(label: str, report: Mapping[str, Any]) -> str:
    measured = report["held_out"]
    rows = [measured, *report["parts"], *report["baselines"]]
    table = rows_of(rows) if "macro_f1" in measured else _numbers(rows)
    return "\n".join([f"{label}: {learned(report)}", "", table, "", *words_of(report)])


def _numbers(rows: Sequence[Mapping[str, Any]]) -> str:
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'':{width}}  R2      Spearman  mean absolute error"]
    lines += [
        f"{row['name']:{width}}  {row['r2']:6.3f}  {row['spearman']:6.3f}    {row['mae']:.4g}" for row in rows
    ]
    return "\n".join(lines)


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
    words = _words_of_split(report)
    # Whether training was worth it is what a reader is to take away.
    return [*words, report["fine_tuning"]["words"]] if "fine_tuning" in report else words


def _words_of_split(report: Mapping[str, Any]) -> list[str]:
    measured, unknown = report["held_out"], report.get("unknown")
    # Annotators of before say nothing here: the comparison needs the calls.
    words = list(report.get("verdict", ()))
    if report["split"] == "random":
        words.append(
            "The split was random: near-copies may lie on both sides, so scores look better than they are."
        )
    if unknown is None:
        return words
    if measured["calibrated"]:
        words.append(f"Confidence is calibrated: ECE at most {GOOD_CALIBRATION}.")
    else:
        words.append(f"Confidence is not well calibrated: ECE above {GOOD_CALIBRATION}.")
    words += _promised(unknown.get("novelty"))
    if unknown["rejected"] is None:
        words.append("It was not tested whether cells of an unknown type are noticed.")
    else:
        words.append(
            f"Of a type that was left out of training, {unknown['rejected']:.0%} of the cells are called "
            f"unknown{_of_known(unknown)}"
        )
    return words


def _promised(novelty: Mapping[str, Any] | None) -> list[str]:
    """The promised loss of known cells, and what its cut-off was set on."""
    if novelty is None:
        return []
    promise = f"Promised: at most {novelty['promised_loss']:.1%} of known cells are unknown"
    if novelty["held_out"] == "groups":
        return [
            f"{promise}; the cut-off was set on {novelty['groups']} batches, each held out whole "
            f"(in the worst {novelty['worst_group']:.1%})."
        ]
    cells = f"{novelty['held_out_cells']:,}"
    if instead := novelty.get("instead_of_groups"):
        return [f"{promise}; {instead}, so the cut-off was set on {cells} held-out rows instead of batches."]
    return [
        f"{promise}; the cut-off was set on {cells} held-out rows of the same batches; rows of another "
        "laboratory may lie above it as a whole, so name batches in the fit where you have several."
    ]


def _of_known(unknown: Mapping[str, Any]) -> str:
    """How often known types are; a held-out part of one class alone has none to compare with."""
    if unknown["known_rejected"] is None:
        return "; all held-out cells are of one class, so known types were not tested."
    return f"; of known types {unknown['known_rejected']:.0%} (AUROC {unknown['auroc']:.2f})."
