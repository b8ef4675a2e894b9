"""``biolm benchmark``: a model of sequences on published benchmarks, beside their baselines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm benchmark``."""

    folder: Annotated[
        Path, typer.Argument(help="Folder of ProteinGym, Genomic Benchmarks, GUE or the NT benchmark.")
    ]
    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint folder or hub id.")]
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
    dataset: Annotated[
        list[str] | None, typer.Option(help="Data set to score; may be repeated.", show_default="all")
    ] = None
    most: Annotated[int, typer.Option(min=0, help="Use at most so many sequences a side; 0 for all.")] = 0
    pool: Annotated[
        str | None, typer.Option(help="How tokens become one vector.", show_default="the model's own")
    ] = None
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens packed into one batch.")] = 16_384
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    seed: Annotated[int, typer.Option(min=0, help="Seed of draws and fits.")] = 0
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON on stdout.")] = False


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
