"""``biolm attention``: how spread attention is, and what ranks it looks at, by layer and head."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import CELL_FILE, CHECKPOINT, Common
from biolm.common_options import output_option, picture_option
from biolm.options import chosen_options
from biolm.progress import log
from biolm.tasks.attention.cells import AttentionSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(AttentionSettings, Common):
    """Options of ``biolm attention``: those of the job, and what is read and written."""

    input: Annotated[Path, CELL_FILE]
    output: Annotated[Path, output_option("Tab-separated table to write.")]
    model: Annotated[str, CHECKPOINT]
    picture: Annotated[Path | None, picture_option("Also draw it: .png, .svg or .pdf.")] = None


def run(chosen: Arguments) -> None:
    """Measure how spread attention is, by layer and head.

    Writes its entropy and the mean rank of the tokens that it attends to.
    """
    from biolm.io.atomic import refuse_existing
    from biolm.report.picture import picture_format
    from biolm.tasks.attention.cells import attention_of_cells, draw_attention, write_attention

    if chosen.picture is not None:
        picture_format(chosen.picture)
    # Both are looked at before the cells are read.
    for target in (chosen.output, chosen.picture):
        if target is not None:
            refuse_existing(target, overwrite=chosen.overwrite)
    options = chosen_options(chosen, AttentionSettings)
    table = attention_of_cells(chosen.input, model=chosen.model, **options)
    write_attention(table, chosen.output, overwrite=chosen.overwrite)
    if chosen.picture is not None:
        draw_attention(table, chosen.picture, overwrite=chosen.overwrite)
    log.info("wrote %s: %d cells, %d layers", chosen.output, table.cells, len(table.figures["entropy"]))
