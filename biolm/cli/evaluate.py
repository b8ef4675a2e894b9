"""``biolm evaluate``: what the embeddings of a file are worth, beside their baselines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import CELL_FILE, Common
from biolm.common_options import Json, OutputFolder, model_option
from biolm.options import Option, chosen_options
from biolm.progress import log
from biolm.tasks.evaluate.settings import EvaluateSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(EvaluateSettings, Common):
    """Options of ``biolm evaluate``: those of the job, and what is read and written."""

    input: Annotated[Path, CELL_FILE]
    output: OutputFolder
    embedding: Annotated[
        tuple[str, ...],
        Option(
            help="Key of obsm, as X_pca; may be repeated.",
            flags=("--embedding", "-e"),
            shown="none",
            python="embeddings",
        ),
    ] = ()
    model: Annotated[
        tuple[str, ...],
        model_option("Model to evaluate, embedding where obsm lacks it; may be repeated.", shown="none"),
    ] = ()
    json: Json = False


def run(chosen: Arguments) -> None:
    """Score embeddings beside PCA and regression on the counts.

    Writes scores (JSON, TSV), plots and report.html, a page to open in any browser.
    """
    from biolm.tasks.evaluate.files import as_json, score_text
    from biolm.tasks.evaluate.run import REPORT, evaluate

    options = chosen_options(chosen, EvaluateSettings)
    evaluation = evaluate(chosen.input, chosen.embedding, model=chosen.model, output=chosen.output, **options)
    typer.echo(json.dumps(as_json(evaluation), indent=1) if chosen.json else score_text(evaluation))
    log.info("wrote %s", chosen.output / REPORT)
