"""``biolm demo``: the built-in model on the shipped cells."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import typer

from biolm.cli.arguments import Common
from biolm.common_options import OutputFolder, Overwrite, Seed
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm demo``."""

    output: OutputFolder = Path("demo")
    seed: Seed = 0
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Embed the cells that ship with biolm, and score the vectors.

    Prints the scores beside their controls; writes the embedded cells, a picture and a page.
    """
    from biolm.tasks.demo.run import run_demo

    result = run_demo(chosen.output, seed=chosen.seed, overwrite=chosen.overwrite)
    typer.echo(result.text)
    log.info("wrote %s", ", ".join(str(path) for path in result.files))
