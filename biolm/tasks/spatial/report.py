"""Scores of a gene-image model as text, JSON, a table and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from biolm.io.provenance import plain
from biolm.report.report import ScoreRow, ScoreTable, write_report
from biolm.scoring.retrieval import RECALLS
from biolm.tasks.spatial.arms import ARMS, ArmScores

__all__ = ["arm_text", "write_training_report"]

_MODEL = ("image only", "genes only", "both")


def arm_text(scores: ArmScores) -> str:
    """The table of arms as plain text, the verdict first.

    The column of depth-normalised values counts; log1p of raw counts mostly follows tissue thickness.
    """
    lines = [scores.verdict(), "", f"{'arm':30} {'normalised':>26} {'raw log counts':>26}"]
    lines += [
        f"{arm:30} {scores.interval(arm)!s:>26} {scores.interval(arm, raw=True)!s:>26}"
        for arm in _present(scores)
    ]
    lines += ["", f"image gain, paired by gene and section: {scores.image_gain()}"]
    lines.append(f"  with the image of another spot: {scores.image_gain('both, image of another spot')}")
    for k in RECALLS if scores.ranks else ():
        for way, interval in scores.retrieval(k).items():
            low, high = interval["low"], interval["high"]
            value = f"{interval['mean']:.3f} ({low:.3f} to {high:.3f}), chance {interval['chance']:.3f}"
            lines.append(f"recall at {k}, {way}: {value}")
    for section, losses in scores.as_dict()["niche_cross_entropy"].items():
        own, mean = losses["model"], losses["training mean"]
        lines.append(f"niches of {section}: cross-entropy {own:.3f}, of the training mean {mean:.3f}")
    return "\n".join(lines)


def write_training_report(folder: Path, scores: ArmScores | None, provenance: dict[str, Any]) -> None:
    """Write ``report.json``, and with scores ``scores.tsv`` and ``report.html``, into a folder.

    Parameters
    ----------
    folder
        That is there.
    scores
        Of all arms, where there are any.
    provenance
        Of the run.
    """
    content = {"facts": provenance, **({} if scores is None else scores.as_dict())}
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if scores is None:
        return
    lines = ["arm\tsection\tseed\tnormalised\traw"]
    for arm in _present(scores):
        for section in scores.sections:
            # One line a seed, so that a reader can make intervals of their own.
            pairs = zip(scores.normalised[arm][section], scores.raw[arm][section], strict=True)
            for seed, (normalised, raw) in enumerate(pairs):
                lines.append(f"{arm}\t{section}\t{seed}\t{normalised.mean():.6f}\t{raw.mean():.6f}")
    (folder / "scores.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_report(
        folder / "report.html",
        title="Genes and tissue image",
        summary=[scores.verdict(), _about(provenance)],
        parts=[_table(scores, raw=False), _table(scores, raw=True)],
        provenance=plain(provenance),
    )


def _about(metadata: dict[str, Any]) -> str:
    patients = len(metadata["patients"])
    whose = "all of one patient" if patients == 1 else f"of {patients} patients"
    return (
        f"{len(metadata['sections'])} sections, {whose}; split by {metadata['split']}, "
        f"{metadata['seeds']} seeds. Mean Pearson correlation of {metadata['targets']} genes "
        "within each section that was held out."
    )


def _table(scores: ArmScores, *, raw: bool) -> ScoreTable:
    rows = []
    for arm in _present(scores):
        interval = scores.interval(arm, raw=raw)
        rows.append(
            ScoreRow(
                name=arm, value=interval.mean, low=interval.low, high=interval.high, is_model=arm in _MODEL
            )
        )
    kind = "log1p of raw counts" if raw else "depth-normalised log1p"
    note = (
        "Not the column that counts: raw log counts follow tissue thickness."
        if raw
        else "The column that counts. Intervals: bootstrap over sections and genes."
    )
    return ScoreTable(
        title=f"Pearson r, {kind}",
        rows=rows,
        note=note,
        header=("Arm", "Mean r", ""),
        verdict=[scores.verdict()],
    )


def _present(scores: ArmScores) -> list[str]:
    return [arm for arm in ARMS if arm in scores.normalised]
