"""``biolm perturb``: delete or over-express genes in cells, and see how far the cells move."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import CELL_FILE, MODEL, Common, split_names
from biolm.common_options import output_option
from biolm.errors import ConfigError
from biolm.io.gene_list import check_gene_file
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.options import Option, chosen_options
from biolm.progress import log
from biolm.tasks.perturb.settings import PerturbSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(PerturbSettings, Common):
    """Options of ``biolm perturb``: those of the job, and what is read and written."""

    input: Annotated[Path, CELL_FILE]
    output: Annotated[Path, output_option("Table to write: .parquet, .csv or .tsv.")]
    model: Annotated[str, MODEL] = DEFAULT_MODEL
    delete: Annotated[
        tuple[str, ...], Option(help="Gene to delete; may be repeated, or A,B.", shown="none")
    ] = ()
    overexpress: Annotated[tuple[str, ...], Option(help="Gene to over-express; likewise.", shown="none")] = ()
    genes: Annotated[
        str | None, Option(help="File of more genes, one a line, or all; see --how.", shown="none")
    ] = None
    all_genes: Annotated[bool, Option(help="Every gene of the file; see --how.")] = False


def run(chosen: Arguments) -> None:
    """Delete or over-express genes and measure how cells move.

    Writes a table of genes with mean shifts, intervals, tests and matched random genes beside them.
    """
    from biolm.tasks.perturb.run import perturb

    if chosen.all_genes and chosen.genes is not None:
        raise ConfigError("--genes names some genes and --all-genes takes all; give one of them")
    if chosen.genes is not None:
        check_gene_file(chosen.genes, ("all",), "`delete` or `overexpress`")
    result = perturb(
        chosen.input,
        model=chosen.model,
        delete=split_names(chosen.delete, "delete"),
        overexpress=split_names(chosen.overexpress, "overexpress"),
        genes="all" if chosen.all_genes else chosen.genes or (),
        output=chosen.output,
        **chosen_options(chosen, PerturbSettings),
    )
    log.info("wrote %s: %d edits in %d cells", chosen.output, len(result.columns["gene"]), len(result.cells))
