"""``biolm attention``: how spread attention is, and what ranks it looks at, by layer and head."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Reading
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading):
    """Options of ``biolm attention``."""

    output: Annotated[
        Path, Option(help="Tab-separated table to write.", flags=("--output", "-o"), panel="Output")
    ]
    model: Annotated[str, Option(help="Checkpoint folder or hub id.", flags=("--model", "-m"), panel="Model")]
    picture: Annotated[
        Path | None, Option(help="Also draw it: .png, .svg or .pdf.", shown="none", panel="Output")
    ] = None
    cells: Annotated[int, Option(help="Cells to average over, evenly spaced.", min=1)] = 100
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"


def run(chosen: Arguments) -> None:
    """Measure what the attention of a model looks at.

    Writes entropy and mean rank of attended tokens, by layer and head.
    """
    from biolm.io.atomic import refuse_existing
    from biolm.jobs.settings import ReadingSettings
    from biolm.tasks.attention import attention_of_cells, draw_attention, picture_format, write_attention

    if chosen.picture is not None:
        picture_format(chosen.picture)
    for target in (chosen.output, chosen.picture):
        if target is not None:
            refuse_existing(target, overwrite=chosen.overwrite)
    table = attention_of_cells(
        chosen.input,
        model=chosen.model,
        cells=chosen.cells,
        device=chosen.device,
        **chosen.among(ReadingSettings),
    )
    write_attention(table, chosen.output, overwrite=chosen.overwrite)
    if chosen.picture is not None:
        draw_attention(table, chosen.picture, overwrite=chosen.overwrite)
    log.info("wrote %s: %d cells, %d layers", chosen.output, table.cells, len(table.figures["entropy"]))
