"""``biolm merge``: shards of a job to the whole result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common, print_json
from biolm.common_options import Format, Json, Overwrite, input_argument, output_option
from biolm.options import Option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm merge``."""

    shards: Annotated[list[Path], input_argument("Folders of all shards of one job, in any order.")]
    output: Annotated[Path, output_option("File to write, as the whole job would: .h5ad, .parquet ...")]
    input: Annotated[
        Path | None,
        Option(help="The table of cells that was read, if it moved.", shown="as it was", python="data"),
    ] = None
    format: Format = None
    overwrite: Overwrite = False
    json: Json = False


def run(chosen: Arguments) -> None:
    """Put the shards of a job together.

    The result is what embed, tokenize or annotate predict would have written in one go.
    """
    from biolm.tasks.merge import merge_shards

    summary = merge_shards(
        chosen.shards, chosen.output, data=chosen.input, format=chosen.format, overwrite=chosen.overwrite
    )
    log.info("wrote %s: %s cells of %d shards", summary.output, f"{summary.rows:,}", summary.shards)
    if chosen.json:
        print_json(summary)
