"""``biolm perturb``: delete or over-express genes in cells, and see how far the cells move."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Reading, Sharded
from biolm.errors import ConfigError
from biolm.progress import log
from biolm.tasks.perturb.settings import PerturbSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading, Sharded):
    """Options of ``biolm perturb``."""

    output: Annotated[Path, typer.Option("--output", "-o", help="Table to write: .parquet, .csv or .tsv.")]
    model: Annotated[
        str, typer.Option("--model", "-m", help="Built-in name, checkpoint folder or hub id.")
    ] = "genetext"
    delete: Annotated[
        list[str] | None, typer.Option(help="Gene to delete; may be repeated, or A,B.", show_default="none")
    ] = None
    overexpress: Annotated[
        list[str] | None, typer.Option(help="Gene to over-express; likewise.", show_default="none")
    ] = None
    genes: Annotated[
        Path | None, typer.Option(help="File of more genes, one a line; see --how.", show_default="none")
    ] = None
    all_genes: Annotated[bool, typer.Option("--all-genes", help="Every gene of the file; see --how.")] = False
    how: Annotated[str, typer.Option(help="delete or overexpress.")] = "delete"
    combine: Annotated[bool, typer.Option("--combine", help="Also change all named genes at once.")] = False
    goal_key: Annotated[
        str | None, typer.Option(help="Column of states, such as disease.", show_default="none")
    ] = None
    start: Annotated[
        str | None, typer.Option(help="State of the cells to perturb.", show_default="all but the goal")
    ] = None
    goal: Annotated[str | None, typer.Option(help="State to move toward.", show_default="none")] = None
    cells: Annotated[int, typer.Option(min=1, help="Most cells to perturb.")] = 200
    minimum_cells: Annotated[int, typer.Option(min=1, help="Fewest cells, for --all-genes.")] = 5
    controls: Annotated[int, typer.Option(min=0, help="Matched random genes for each gene and cell.")] = 1
    pool: Annotated[
        str | None, typer.Option(help="How tokens become one vector.", show_default="the model's own")
    ] = None
    hidden_state: Annotated[
        int | None, typer.Option(help="State to pool: -1 the last, -2 ...", show_default="the model's own")
    ] = None
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32"
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens packed into one batch.")] = 16_384
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted job.")] = False


def run(chosen: Arguments) -> None:
    """Delete or over-express genes and measure how cells move.

    Writes a table of genes with mean shifts, intervals, tests and matched random genes beside them.
    """
    from biolm.tasks.perturb.run import perturb

    if chosen.all_genes and chosen.genes is not None:
        raise ConfigError("--genes names some genes and --all-genes takes all; give one of them")
    found = perturb(
        chosen.input,
        model=chosen.model,
        delete=_names(chosen.delete),
        overexpress=_names(chosen.overexpress),
        genes="all" if chosen.all_genes else chosen.genes or (),
        output=chosen.output,
        **chosen.among(PerturbSettings),
    )
    log.info("wrote %s: %d edits in %d cells", chosen.output, len(found.columns["gene"]), len(found.cells))


def _names(given: list[str] | None) -> list[str]:
    """Names of an option that may be repeated, split at commas."""
    return [name for text in given or [] for name in text.split(",") if name.strip()]
