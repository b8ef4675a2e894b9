"""``biolm demo``: embed the shipped cells and say what the vectors are worth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm demo``."""

    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo")
    seed: Annotated[int, typer.Option(min=0, help="Seeds folds, controls, splits and pictures.")] = 0
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files of an earlier demo.")] = (
        False
    )
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False


def run(chosen: Arguments) -> None:
    """Embed two shipped sets of blood cells and compare the vectors with their controls."""
    from biolm.tasks.demo import SCORES, run_demo
    from biolm.tasks.progress import log

    result = run_demo(chosen.output, seed=chosen.seed, overwrite=chosen.overwrite)
    scores = (chosen.output / SCORES).read_text(encoding="utf-8") if chosen.json else result.text
    typer.echo(scores, nl=False)
    log.info("Written: %s", ", ".join(str(path) for path in result.files))
