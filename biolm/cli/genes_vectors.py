"""``biolm genes vectors``: the vectors of genes that a model holds, or makes in cells."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import CELL_FILE, MODEL, Common
from biolm.common_options import output_option
from biolm.models.catalogue import DEFAULT_GENES
from biolm.options import Option, chosen_options, refuse_others
from biolm.progress import log
from biolm.tasks.genes.vectors import ContextSettings, StaticSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ContextSettings, Common):
    """Options of ``biolm genes vectors``: those of the job, and what is read and written."""

    input: Annotated[Path, CELL_FILE]
    output: Annotated[Path, output_option("File to write: .h5ad, .parquet, .tsv or .csv.")]
    model: Annotated[str, MODEL] = DEFAULT_GENES
    contextual: Annotated[bool, Option(help="Mean hidden state in the cells, not the table.")] = False
    group: Annotated[str | None, Option(help="Column of groups, each on its own.", shown="none")] = None
    minimum_cells: Annotated[int, Option(help="Fewest cells of a gene in a group.", min=1)] = 1


def run(chosen: Arguments) -> None:
    """Write the vectors of the genes of a file.

    Those of the model's table, or with --contextual the mean hidden state of each gene in the cells.
    """
    from biolm.tasks.genes.vectors import check_output, contextual, static, write_vectors

    check_output(chosen.output, overwrite=chosen.overwrite)
    # Groups are of cells, so naming one asks for vectors in cells.
    if chosen.contextual or chosen.group is not None:
        vectors = contextual(
            chosen.input,
            model=chosen.model,
            group=chosen.group,
            minimum_cells=chosen.minimum_cells,
            **chosen_options(chosen, ContextSettings),
        )
    else:
        options = chosen_options(chosen, StaticSettings)
        used = {*options, "output", "model", "overwrite", "quiet", "debug", "input"}
        refuse_others(chosen, used, "is for `contextual` vectors and means nothing for those of the table")
        vectors = static(chosen.model, chosen.input, **options)
    write_vectors(vectors, chosen.output, overwrite=chosen.overwrite)
    log.info("wrote %s: %s rows, %d wide", chosen.output, f"{len(vectors):,}", vectors.vectors.shape[1])
