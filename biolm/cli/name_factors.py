"""``biolm name-factors``: genes and biological processes of the factors of a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import MODEL, Common
from biolm.common_options import Overwrite, output_option
from biolm.options import chosen_options
from biolm.progress import log
from biolm.tasks.factors.names import NameSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(NameSettings, Common):
    """Options of ``biolm name-factors``."""

    output: Annotated[Path, output_option("Page or table to write: .html, .tsv, .csv or .parquet.")]
    model: Annotated[str, MODEL] = "cellfactors"
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Name factors by their genes and biological processes.

    Writes a page, or a table with a row for each term of each side of a factor.
    """
    from biolm.io.atomic import refuse_existing
    from biolm.io.table import check_table
    from biolm.tasks.factors.names import name_factors

    # A page is one file; a table has its provenance beside it, which must be free too.
    if chosen.output.suffix.lower() == ".html":
        refuse_existing(chosen.output, overwrite=chosen.overwrite)
    else:
        check_table(chosen.output, overwrite=chosen.overwrite)
    names = name_factors(chosen.model, **chosen_options(chosen, NameSettings))
    names.write(chosen.output, overwrite=chosen.overwrite)
    log.info("wrote %s", chosen.output)
