"""``biolm evaluate``: what the embeddings of a file are worth, beside their baselines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from biolm.cli.arguments import Reading
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading):
    """Options of ``biolm evaluate``."""

    label: Annotated[str, Option(help="Column of obs with the cell types.")]
    output: Annotated[Path, Option(help="Folder to write.", flags=("--output", "-o"), panel="Output")]
    batch: Annotated[
        str | None, Option(help="Column of obs that integration should remove.", shown="none")
    ] = None
    groups: Annotated[str | None, Option(help="Column whose groups stay whole in folds.", shown="none")] = (
        None
    )
    embedding: Annotated[
        list[str] | None,
        Option(help="Key of obsm, as X_pca; may be repeated.", flags=("--embedding", "-e"), shown="none"),
    ] = None
    model: Annotated[
        list[str] | None,
        Option(
            help="Model to judge, embedding where obsm lacks it; may be repeated.",
            flags=("--model", "-m"),
            shown="none",
            panel="Model",
        ),
    ] = None
    leave_out: Annotated[
        list[str] | None, Option(help="Label that is no type; may be repeated.", shown="none")
    ] = None
    rare: Annotated[int, Option(help="Leave out types with fewer cells.", min=0)] = 0
    folds: Annotated[int, Option(help="Folds of the cross-validation.", min=2)] = 5
    draws: Annotated[int, Option(help="Draws of every curve.", min=1)] = 5
    cells: Annotated[int, Option(help="Score at most so many cells; 0 for all.", min=0)] = 10_000
    integration: Annotated[bool, Option(help="Take scIB metrics.")] = True
    curves: Annotated[bool, Option(help="Learn from few labels.")] = True
    robustness: Annotated[bool, Option(help="Embed again with fewer reads and genes.")] = True
    maps: Annotated[bool, Option(help="Draw UMAPs.")] = True
    json: Annotated[bool, Option(help="Print all numbers as JSON on stdout.", panel="Output")] = False


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
