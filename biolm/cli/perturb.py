"""``biolm perturb``: delete or over-express genes in cells, and see how far the cells move."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Reading, Sharded
from biolm.errors import ConfigError
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.perturb.settings import PerturbSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading, Sharded):
    """Options of ``biolm perturb``."""

    output: Annotated[
        Path, Option(help="Table to write: .parquet, .csv or .tsv.", flags=("--output", "-o"), panel="Output")
    ]
    model: Annotated[
        str,
        Option(help="Built-in name, checkpoint folder or hub id.", flags=("--model", "-m"), panel="Model"),
    ] = "genetext"
    delete: Annotated[
        list[str] | None, Option(help="Gene to delete; may be repeated, or A,B.", shown="none")
    ] = None
    overexpress: Annotated[list[str] | None, Option(help="Gene to over-express; likewise.", shown="none")] = (
        None
    )
    genes: Annotated[Path | None, Option(help="File of more genes, one a line; see --how.", shown="none")] = (
        None
    )
    all_genes: Annotated[bool, Option(help="Every gene of the file; see --how.")] = False
    how: Annotated[str, Option(help="delete or overexpress.")] = "delete"
    combine: Annotated[bool, Option(help="Also change all named genes at once.")] = False
    goal_key: Annotated[str | None, Option(help="Column of states, such as disease.", shown="none")] = None
    start: Annotated[str | None, Option(help="State of the cells to perturb.", shown="all but the goal")] = (
        None
    )
    goal: Annotated[str | None, Option(help="State to move toward.", shown="none")] = None
    cells: Annotated[int, Option(help="Most cells to perturb.", min=1)] = 200
    minimum_cells: Annotated[int, Option(help="Fewest cells, for --all-genes.", min=1)] = 5
    controls: Annotated[int, Option(help="Matched random genes for each gene and cell.", min=0)] = 1
    pool: Annotated[
        str | None, Option(help="How tokens become one vector.", shown="the model's own", panel="Model")
    ] = None
    hidden_state: Annotated[
        int | None, Option(help="State to pool: -1 the last, -2 ...", shown="the model's own", panel="Model")
    ] = None
    precision: Annotated[str, Option(help="float32, bfloat16 or float16.", panel="Model")] = "float32"
    batch_tokens: Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")] = 16_384
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"
    resume: Annotated[bool, Option(help="Go on with an interrupted job.", panel="Run")] = False


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
