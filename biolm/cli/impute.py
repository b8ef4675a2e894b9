"""``biolm impute``: genes that a panel does not measure."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from biolm.cli.arguments import CELL_FILE, MODEL, Common, split_names
from biolm.common_options import output_option
from biolm.errors import ConfigError
from biolm.io.gene_list import check_gene_file
from biolm.options import Option, chosen_options
from biolm.progress import log
from biolm.tasks.impute.settings import ImputeSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ImputeSettings, Common):
    """Options of ``biolm impute``: those of the job, and what is read and written."""

    input: Annotated[Path, CELL_FILE]
    output: Annotated[Path, output_option("File to write: .h5ad, .zarr or .npy.")]
    model: Annotated[str, MODEL] = "cellfactors"
    gene: Annotated[
        tuple[str, ...],
        Option(help="Gene to impute; may be repeated, or A,B.", flags=("--gene", "-g"), shown="none"),
    ] = ()
    genes: Annotated[
        str, Option(help="File of genes, one a line; unmeasured: those that the file lacks; or all.")
    ] = "unmeasured"


def run(chosen: Arguments) -> None:
    """Impute genes that a gene panel does not measure.

    Writes a new table of the cells and the imputed genes: log(1 + counts in 10,000), the posterior mean.
    """
    from biolm.tasks.impute.run import impute

    genes: Any = split_names(chosen.gene, "gene") or chosen.genes
    if chosen.gene and chosen.genes != "unmeasured":
        raise ConfigError("`gene` names genes and `genes` a file of them; give one of the two")
    if not chosen.gene:
        check_gene_file(chosen.genes, ("unmeasured", "all"), "`gene`")
    impute(
        chosen.input,
        model=chosen.model,
        genes=genes,
        output=chosen.output,
        **chosen_options(chosen, ImputeSettings),
    )
    log.info("wrote %s", chosen.output)
