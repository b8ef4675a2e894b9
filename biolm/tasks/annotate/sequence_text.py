"""The report of a fit on sequences as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from biolm.tasks.annotate.table import rows_of

__all__ = ["report_text"]


def report_text(label: str, report: Mapping[str, Any]) -> str:
    """A table of scores, biolm first, and what it means in words."""
    head = (
        f"{label}: {report['train_sequences']:,} sequences to learn from, {report['test_sequences']:,} held "
        f"out ({report['split']})"
    )
    held = report["held_out"]
    rows = [held, *report["parts"], *report["baselines"]]
    score = "macro_f1" if "macro_f1" in held else "r2"
    words = list(report.get("verdict", ()))
    if report["split"] == "random":
        words.append(
            "The split was random: near-copies may lie on both sides, so scores look better than they are."
        )
    table = rows_of(rows) if score == "macro_f1" else _numbers(rows)
    return "\n".join([head, "", table, "", *words])


def _numbers(rows: Sequence[Mapping[str, Any]]) -> str:
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'':{width}}  R2      Spearman  mean absolute error"]
    lines += [
        f"{row['name']:{width}}  {row['r2']:6.3f}  {row['spearman']:6.3f}    {row['mae']:.4g}" for row in rows
    ]
    return "\n".join(lines)
