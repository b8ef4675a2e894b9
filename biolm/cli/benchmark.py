"""``biolm benchmark``: a model of sequences on published benchmarks, beside their baselines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm benchmark``."""

    folder: Annotated[
        Path,
        Option(
            help="Folder of ProteinGym, Genomic Benchmarks, GUE or the NT benchmark.",
            argument=True,
            panel="Input",
        ),
    ]
    model: Annotated[str, Option(help="Checkpoint folder or hub id.", flags=("--model", "-m"), panel="Model")]
    output: Annotated[Path, Option(help="Folder to write.", flags=("--output", "-o"), panel="Output")]
    dataset: Annotated[list[str] | None, Option(help="Data set to score; may be repeated.", shown="all")] = (
        None
    )
    most: Annotated[int, Option(help="Use at most so many sequences a side; 0 for all.", min=0)] = 0
    pool: Annotated[
        str | None, Option(help="How tokens become one vector.", shown="the model's own", panel="Model")
    ] = None
    batch_tokens: Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")] = 16_384
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"
    seed: Annotated[int, Option(help="Seed of draws and fits.", min=0, panel="Run")] = 0
    overwrite: Annotated[bool, Option(help="Replace an existing output.", panel="Output")] = False
    json: Annotated[bool, Option(help="Print all numbers as JSON on stdout.", panel="Output")] = False


def run(chosen: Arguments) -> None:
    """Score a model of sequences on published benchmarks.

    Frozen vectors and logistic regression beside k-mers; variants of proteins beside BLOSUM62.
    """
    from biolm.tasks.sequence_benchmarks.run import evaluate_sequences
    from biolm.tasks.sequence_benchmarks.tables import as_rows, markdown

    scores = evaluate_sequences(
        chosen.folder,
        chosen.model,
        output=chosen.output,
        datasets=tuple(chosen.dataset or ()),
        most=chosen.most,
        pool=chosen.pool,
        batch_tokens=chosen.batch_tokens,
        device=chosen.device,
        seed=chosen.seed,
        overwrite=chosen.overwrite,
        progress=not chosen.quiet,
    )
    typer.echo(json.dumps(as_rows(scores), indent=1) if chosen.json else markdown(scores), nl=chosen.json)
    log.info("wrote %s", chosen.output)
