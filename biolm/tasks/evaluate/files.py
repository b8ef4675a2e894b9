"""What an evaluation writes: scores as JSON and TSV, plots, the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.atomic import replacing_folder
from biolm.progress import log
from biolm.report.picture import draw_maps
from biolm.report.report import write_plots, write_report
from biolm.scoring.calls import calibration
from biolm.tasks.evaluate.data import EvaluationData
from biolm.tasks.evaluate.page import cell_map, curve_sets, parts, summary_text
from biolm.tasks.evaluate.probes import LabelCurve
from biolm.tasks.evaluate.robustness import summary
from biolm.tasks.evaluate.run import REPORT, Evaluation
from biolm.tasks.evaluate.settings import EvaluateSettings

__all__ = ["as_json", "score_text", "write"]


def write(
    folder: Path,
    evaluation: Evaluation,
    data: EvaluationData,
    vectors: Mapping[str, Any],
    settings: EvaluateSettings,
) -> None:
    """Write ``scores.json``, ``scores.tsv``, ``curves.tsv``, plots and ``report.html``: all, or nothing.

    Parameters
    ----------
    folder
        That is there.
    evaluation
        Scores.
    data
        The scored cells.
    vectors
        ``(n, d)`` by embedding.
    settings
        Choices of the job.

    Raises
    ------
    OutputError
        If a file exists and ``overwrite`` is not set.
    """
    with replacing_folder(folder, REPORT, overwrite=settings.overwrite) as temporary:
        _text(temporary / "scores.json", json.dumps(as_json(evaluation), indent=1) + "\n")
        _text(temporary / "scores.tsv", _tsv(_score_lines(evaluation)))
        if curve_sets(evaluation):
            _text(temporary / "curves.tsv", _tsv(_curve_lines(evaluation)))
        page = parts(evaluation)
        write_plots(temporary, page)
        maps, picture = [], None
        if settings.maps:
            log.info("drawing maps")
            maps, picture = [cell_map(data, vectors, settings)], temporary / "umap.png"
            draw_maps(picture, maps, colour_by=settings.label)
        write_report(
            temporary / REPORT,
            title=f"Embeddings of {data.name}",
            summary=summary_text(evaluation),
            maps=maps,
            parts=page,
            provenance=evaluation.provenance,
            picture=picture,
        )


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Every number of an evaluation as plain values."""
    curves = {
        name: {"x": list(curve.x), "values": {key: _plain(rows) for key, rows in curve.values.items()}}
        for name, curve in _named_curves(evaluation)
    }
    errors = {
        calls.name: round(calibration(calls.confidence, calls.called == calls.truth).ece, 6)
        for calls in evaluation.calls
    }
    return {
        "embeddings": list(evaluation.embeddings),
        "facts": dict(evaluation.provenance),
        "knn": [score.as_dict() for score in evaluation.knn],
        "linear": [score.as_dict() for score in evaluation.linear],
        "verdicts": {name: list(sentences) for name, sentences in evaluation.verdicts.items()},
        "calibration_error": errors,
        "integration": {name: dict(values) for name, values in evaluation.integration.items()},
        "curves": curves,
    }


def score_text(evaluation: Evaluation) -> str:
    """The probes as a plain table of at most 100 characters a line."""
    lines = []
    for title, probe in (("nearest neighbours", "knn"), ("linear probe", "linear")):
        lines.append(f"{title:<40}macro-F1   95 % interval   accuracy")
        for score in getattr(evaluation, probe):
            interval = f"{score.low:.3f}-{score.high:.3f}"
            lines.append(f"  {score.name:<38}{score.macro_f1:8.3f}{interval:>16}{score.accuracy:11.3f}")
        lines += [f"  -> {sentence}" for sentence in evaluation.verdicts[probe]]
    if evaluation.integration:
        lines.append(f"{'integration':<40}     Bio    Batch    Total")
        for name, values in evaluation.integration.items():
            numbers = (values[key] for key in ("Bio", "Batch", "Total"))
            lines.append(
                f"  {name:<38}" + "".join("        -" if v is None else f"{v:9.3f}" for v in numbers)
            )
    return "\n".join(lines)


def _plain(values: NDArray[np.float64]) -> list[list[float | None]]:
    """Rows of numbers; None for NaN, which JSON does not know."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def _named_curves(evaluation: Evaluation) -> list[tuple[str, LabelCurve]]:
    curves = ("few_shot", "label_share", "reads", "genes")
    return [(name, curve) for name in curves if (curve := getattr(evaluation, name)) is not None]


def _score_lines(evaluation: Evaluation) -> Iterable[tuple[Any, ...]]:
    yield "question", "method", "metric", "value", "low", "high"
    for probe in ("knn", "linear"):
        for score in getattr(evaluation, probe):
            yield probe, score.name, "macro_f1", score.macro_f1, score.low, score.high
            yield probe, score.name, "accuracy", score.accuracy, "", ""
    for method, values in evaluation.integration.items():
        for metric, value in values.items():
            yield "integration", method, metric, "" if value is None else value, "", ""


def _curve_lines(evaluation: Evaluation) -> Iterable[tuple[Any, ...]]:
    yield "curve", "method", "x", "mean", "sd", "draws"
    for name, curve in _named_curves(evaluation):
        for method, values in curve.values.items():
            for x, mean, spread in zip(curve.x, *summary(values), strict=True):
                if mean == mean:  # NaN where the method was not fitted
                    yield name, method, x, mean, spread, len(values)


def _tsv(lines: Iterable[tuple[Any, ...]]) -> str:
    def plain(value: Any) -> str:
        # A name may hold a tab, which would shift the columns behind it.
        return f"{value:.6g}" if isinstance(value, float) else str(value).replace("\t", " ")

    return "".join("\t".join(map(plain, line)) + "\n" for line in lines)


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
