"""``biolm genes vectors``: the vectors of genes that a model holds, or makes in cells."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Reading
from biolm.jobs.settings import EmbedSettings
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading):
    """Options of ``biolm genes vectors``."""

    output: Annotated[
        Path,
        Option(
            help="File to write: .h5ad, .parquet, .tsv or .csv.", flags=("--output", "-o"), panel="Output"
        ),
    ]
    model: Annotated[
        str,
        Option(help="Built-in name, checkpoint folder or hub id.", flags=("--model", "-m"), panel="Model"),
    ] = "genetext"
    contextual: Annotated[bool, Option(help="Mean hidden state in the cells, not the table.")] = False
    group: Annotated[str | None, Option(help="Column of groups, each on its own.", shown="none")] = None
    minimum_cells: Annotated[int, Option(help="Fewest cells of a gene in a group.", min=1)] = 1
    hidden_state: Annotated[
        int | None, Option(help="State to read: -1 the last, -2 ...", shown="the model's own", panel="Model")
    ] = None
    batch_tokens: Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")] = 16_384
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"


def run(chosen: Arguments) -> None:
    """Write the vectors of the genes of a file.

    Those of the model's table, or with --contextual the mean hidden state of each gene in the cells.
    """
    from biolm.tasks.genes.vectors import check_output, contextual, static, write_vectors

    check_output(chosen.output, overwrite=chosen.overwrite)
    options = chosen.among(EmbedSettings)
    if chosen.contextual or chosen.group is not None:
        found = contextual(
            chosen.input,
            model=chosen.model,
            group=chosen.group,
            minimum_cells=chosen.minimum_cells,
            **options,
        )
    else:
        found = static(chosen.model, chosen.input, **options)
    write_vectors(found, chosen.output, overwrite=chosen.overwrite)
    log.info("wrote %s: %s rows, %d wide", chosen.output, f"{len(found):,}", found.vectors.shape[1])
