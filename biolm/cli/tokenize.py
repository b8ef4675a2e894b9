"""``biolm tokenize``: cells or sequences of a file to tokens in a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common, print_json
from biolm.common_options import DATA, Json, model_option, output_option
from biolm.progress import log
from biolm.tasks.tokens.tokenize import TokenizeSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TokenizeSettings, Common):
    """Options of ``biolm tokenize``: those of the job, and what is read and written."""

    input: Annotated[Path, DATA]
    model: Annotated[str, model_option("Checkpoint folder, name or hub id.")]
    output: Annotated[Path, output_option("File to write: .parquet, .arrow or .zarr.")]
    json: Json = False


def run(chosen: Arguments) -> None:
    """Turn every cell or sequence into tokens of a model."""
    from biolm.tasks.tokens.tokenize import tokenize_file

    summary = tokenize_file(chosen.input, chosen.output, chosen.model, chosen)
    log.info("wrote %s: %s rows, %s tokens", summary.output, f"{summary.cells:,}", f"{summary.tokens:,}")
    if chosen.json:
        print_json(summary)
