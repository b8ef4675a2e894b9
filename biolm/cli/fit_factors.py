"""``biolm fit-factors``: a factor model of your own cells."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common
from biolm.common_options import input_argument, output_option
from biolm.progress import log
from biolm.tasks.factors.settings import FitSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(FitSettings, Common):
    """Options of ``biolm fit-factors``."""

    files: Annotated[list[Path], input_argument("Tables of counts, human or mouse, of any gene panels.")]
    output: Annotated[Path, output_option("Folder to make; every command takes it as --model.")]


def run(chosen: Arguments) -> None:
    """Fit a panel-aware factor model to files of cells.

    Each file is read once and one sample of cells is in memory at a time. No label is read.
    """
    from biolm.tasks.factors.fit import fit_to_folder

    model = fit_to_folder(chosen.files, chosen.output, chosen)
    log.info(
        "wrote %s: %d factors of %s genes, fitted to %s",
        chosen.output,
        model.loadings.shape[1],
        f"{len(model.rows):,}",
        model.about["fit"],
    )
