"""``biolm pack``: cells, sequences or stored tokens of many files to one store for training."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from biolm.cli.arguments import Common, print_json
from biolm.common_options import Json, OutputFolder, input_argument
from biolm.progress import log
from biolm.tasks.tokens.pack import PackSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(PackSettings, Common):
    """Options of ``biolm pack``: those of the job, and what is read and written."""

    input: Annotated[
        tuple[str, ...],
        input_argument("Files, folders, globs or .txt lists of cells, of sequences, or of stored tokens."),
    ]
    output: OutputFolder
    json: Json = False


def run(chosen: Arguments) -> None:
    """Pack cells or sequences of many files into one store.

    The store is a folder of mapped arrays; embed, tokenize and pretrain read it like any other file.
    """
    from biolm.tasks.tokens.pack import pack_files

    summary = pack_files(chosen.input, chosen.output, chosen)
    log.info(
        "wrote %s: %s %s of %d files, %s values",
        summary.output,
        f"{summary.rows:,}",
        {"cells": "cells", "sequences": "sequences"}.get(summary.kind, "examples"),
        summary.files,
        f"{summary.values:,}",
    )
    if chosen.json:
        print_json(summary)
