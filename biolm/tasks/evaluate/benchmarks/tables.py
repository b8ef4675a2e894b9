"""Scores of benchmarks as JSON, as a tab-separated table, and as markdown."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import biolm
from biolm.adapters.sequences import Tally
from biolm.tasks.evaluate.benchmarks.layouts import BENCHMARKS
from biolm.tasks.evaluate.benchmarks.score import BenchmarkScore

__all__ = ["as_rows", "markdown", "write_scores"]

_NUMBERS = ("accuracy", "macro_f1", "mcc", "auc", "spearman")


class _Settings(Protocol):
    """What of the settings is told beside the scores."""

    @property
    def most(self) -> int: ...

    @property
    def pool(self) -> str | None: ...

    @property
    def seed(self) -> int: ...

    @property
    def letters(self) -> str: ...


def as_rows(scores: Sequence[BenchmarkScore]) -> list[dict[str, Any]]:
    """One plain row a score; None where a number does not exist."""
    rows = []
    for score in scores:
        row: dict[str, Any] = {
            entry.name: getattr(score, entry.name) for entry in fields(score) if entry.name != "numbers"
        }
        row |= {"value": score.value} | {name: score.numbers.get(name) for name in _NUMBERS}
        rows.append({key: _plain(value) for key, value in row.items()})
    return rows


def markdown(scores: Sequence[BenchmarkScore]) -> str:
    """A table with the number that each benchmark is known by; the best of a data set is bold."""
    lines = ["| benchmark | data set | method | metric | value | 95 % interval | train | test |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    best: dict[tuple[str, str], float] = {}
    for score in scores:
        key = (score.benchmark, score.dataset)
        if not math.isnan(score.value):
            best[key] = max(score.value, best.get(key, -math.inf))
    for score in scores:
        value = "" if math.isnan(score.value) else f"{score.value:.3f}"
        if value and score.value == best[score.benchmark, score.dataset]:
            value = f"**{value}**"
        interval = "" if math.isnan(score.low) else f"{score.low:.3f} to {score.high:.3f}"
        cells = [BENCHMARKS[score.benchmark], score.dataset, score.method, score.metric, value, interval]
        lines.append("| " + " | ".join([*cells, f"{score.train:,}", f"{score.test:,}"]) + " |")
    return "\n".join([*lines, ""])


def write_scores(
    folder: Path,
    scores: Sequence[BenchmarkScore],
    model: Mapping[str, Any],
    settings: _Settings,
    met: Mapping[str, Tally],
) -> None:
    """Write ``scores.json``, ``scores.tsv`` and ``scores.md`` into a new folder.

    Parameters
    ----------
    folder
        Is made.
    scores
        What to write.
    model
        What :meth:`~biolm.models.sequence_model.SequenceModel.describe` says.
    settings
        Choices that the scores depend on.
    met
        Letters of each data set that are not simply read.
    """
    folder.mkdir()
    rows = as_rows(scores)
    metadata = {
        "biolm_version": biolm.__version__,
        "model": dict(model),
        "settings": {name: getattr(settings, name) for name in ("most", "pool", "seed", "letters")},
        "letters": {name: tally.as_dict() for name, tally in met.items()},
        "scores": rows,
    }
    (folder / "scores.json").write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
    with (folder / "scores.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "scores.md").write_text(markdown(scores), encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
