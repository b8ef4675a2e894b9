"""``biolm evaluate``: what the embeddings of a file are worth, beside their baselines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from biolm.cli.arguments import Reading
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading):
    """Options of ``biolm evaluate``."""

    label: Annotated[str, typer.Option(help="Column of obs with the cell types.")]
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
    batch: Annotated[
        str | None, typer.Option(help="Column of obs that integration should remove.", show_default="none")
    ] = None
    groups: Annotated[
        str | None, typer.Option(help="Column whose groups stay whole in folds.", show_default="none")
    ] = None
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            "--embedding", "-e", help="Key of obsm, as X_pca; may be repeated.", show_default="none"
        ),
    ] = None
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Model to judge, embedding where obsm lacks it; may be repeated.",
            show_default="none",
        ),
    ] = None
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Label that is no type; may be repeated.", show_default="none")
    ] = None
    rare: Annotated[int, typer.Option(min=0, help="Leave out types with fewer cells.")] = 0
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5
    draws: Annotated[int, typer.Option(min=1, help="Draws of every curve.")] = 5
    cells: Annotated[int, typer.Option(min=0, help="Score at most so many cells; 0 for all.")] = 10_000
    integration: Annotated[bool, typer.Option(help="Take scIB metrics.")] = True
    curves: Annotated[bool, typer.Option(help="Learn from few labels.")] = True
    robustness: Annotated[bool, typer.Option(help="Embed again with fewer reads and genes.")] = True
    maps: Annotated[bool, typer.Option(help="Draw UMAPs.")] = True
    json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON on stdout.")] = False


def run(chosen: Arguments) -> None:
    """Score embeddings beside PCA and regression on the counts.

    Writes scores (JSON, TSV), plots and report.html, a page to open in any browser.
    """
    from biolm.tasks.evaluate.files import as_json, score_text
    from biolm.tasks.evaluate.run import REPORT, evaluate
    from biolm.tasks.evaluate.settings import EvaluateSettings

    options: dict[str, Any] = chosen.among(EvaluateSettings)
    options["leave_out"] = tuple(chosen.leave_out or ())
    found = evaluate(
        chosen.input, chosen.embedding or (), model=chosen.model or (), output=chosen.output, **options
    )
    typer.echo(json.dumps(as_json(found), indent=1) if chosen.json else score_text(found))
    log.info("wrote %s", chosen.output / REPORT)
