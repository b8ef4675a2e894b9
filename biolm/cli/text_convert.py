"""``biolm text convert``: documents from one format into another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.text_arguments import TextInput
from biolm.common_options import output_option
from biolm.options import Option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text convert``."""

    output: Annotated[
        Path, output_option("File to write (.xml .json .pubtator .conll .jsonl .txt), or folder (BRAT).")
    ]
    format: Annotated[
        str | None,
        Option(
            help="bioc-xml, bioc-json, pubtator, brat, conll, jsonl or text.",
            shown="by the ending",
            panel="Output",
        ),
    ] = None


def run(chosen: Arguments) -> None:
    """Convert documents from one format into another.

    Every mention is checked against its text; what the new format cannot hold is named.
    """
    from biolm.io.atomic import refuse_existing
    from biolm.io.text import ReadReport, read_documents, write_documents

    refuse_existing(chosen.output, overwrite=chosen.overwrite)
    report = ReadReport()
    documents = read_documents(chosen.input, chosen.reading(), report=report)
    losses = write_documents(documents, chosen.output, format=chosen.format, overwrite=chosen.overwrite)
    log.info("%s", report)
    log.info("%s", losses)
