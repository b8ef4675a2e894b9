"""``biolm search build``: files of reference cells to an index."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import MODEL, Common
from biolm.common_options import input_argument, output_option
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.options import chosen_options
from biolm.progress import log
from biolm.tasks.search.build import BuildSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(BuildSettings, Common):
    """Options of ``biolm search build``: those of the job, and what is read and written."""

    references: Annotated[tuple[Path, ...], input_argument("Files of reference cells, as for biolm embed.")]
    output: Annotated[Path, output_option("Folder of the index to write.")]
    model: Annotated[str, MODEL] = DEFAULT_MODEL


def run(chosen: Arguments) -> None:
    """Build an index of reference cells.

    Writes a folder with vectors, names, labels and the usual distance between cells.
    """
    from biolm.tasks.search.build import build

    options = chosen_options(chosen, BuildSettings)
    index = build(chosen.references, model=chosen.model, output=chosen.output, **options)
    log.info("wrote %s: %s cells, %s, %s", chosen.output, f"{len(index):,}", index.metric, chosen.index)
