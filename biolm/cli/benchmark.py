"""``biolm benchmark``: a model of sequences on published benchmarks, beside their baselines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import CHECKPOINT, Common
from biolm.common_options import Json, OutputFolder, input_argument
from biolm.options import chosen_options
from biolm.progress import log
from biolm.tasks.evaluate.benchmarks.run import BenchmarkSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(BenchmarkSettings, Common):
    """Options of ``biolm benchmark``: those of the job, and what is read and written."""

    folder: Annotated[
        Path, input_argument("Folder of ProteinGym, Genomic Benchmarks, GUE or the NT benchmark.")
    ]
    model: Annotated[str, CHECKPOINT]
    output: OutputFolder
    json: Json = False


def run(chosen: Arguments) -> None:
    """Score a model of sequences on published benchmarks.

    Frozen vectors and logistic regression beside k-mers; variants of proteins beside BLOSUM62.
    """
    from biolm.tasks.evaluate.benchmarks.run import evaluate_sequences
    from biolm.tasks.evaluate.benchmarks.tables import as_rows, markdown

    options = chosen_options(chosen, BenchmarkSettings)
    scores = evaluate_sequences(chosen.folder, chosen.model, output=chosen.output, **options)
    typer.echo(json.dumps(as_rows(scores), indent=1) if chosen.json else markdown(scores), nl=chosen.json)
    log.info("wrote %s", chosen.output)
