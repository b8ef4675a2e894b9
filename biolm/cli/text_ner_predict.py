"""``biolm text ner predict``: tag named entities in documents."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.text_arguments import PieceBatch, TextInput
from biolm.common_options import Device, model_option, output_option
from biolm.options import Option
from biolm.progress import log
from biolm.text.settings import Overlap, TextPrecision


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text ner predict``."""

    model: Annotated[str, model_option("Folder or hub id of a trained tagger.")]
    output: Annotated[Path, output_option("File to write, in any format that holds mentions.")]
    format: Annotated[
        str | None,
        Option(
            help="bioc-xml, bioc-json, pubtator, brat, conll or jsonl.", shown="by the ending", panel="Output"
        ),
    ] = None
    overlap: Overlap = None
    batch_tokens: PieceBatch = 1024
    precision: TextPrecision = "float32"
    device: Device = "auto"


def run(chosen: Arguments) -> None:
    """Tag named entities in documents, of any length, with their places and confidence.

    Mentions that the file has already are left out of the result.
    """
    from biolm.io.atomic import refuse_existing
    from biolm.io.text import ReadReport, read_documents, write_documents
    from biolm.text.models import model_folder
    from biolm.text.ner.predict import predict
    from biolm.text.ner.tagger import load_tagger
    from biolm.text.pieces import load_pieces
    from biolm.text.windows import LengthReport

    refuse_existing(chosen.output, overwrite=chosen.overwrite)
    folder = model_folder(chosen.model)
    tagger, tokenizer = load_tagger(folder), load_pieces(folder)
    lengths, report = LengthReport(tokenizer.longest), ReadReport()
    tagged = predict(
        tagger,
        tokenizer,
        # Document by document: a corpus need not fit into memory.
        read_documents(chosen.input, chosen.reading(), report=report),
        overlap=chosen.overlap,
        batch_tokens=chosen.batch_tokens,
        precision=chosen.precision,
        device=chosen.device,
        report=lengths,
    )
    losses = write_documents(tagged, chosen.output, format=chosen.format, overwrite=chosen.overwrite)
    log.info("%s", report)
    log.info("%s", lengths)
    if losses:
        log.info("%s", losses)
