"""``biolm text pretrain``: a tokenizer and an encoder from raw text."""

from __future__ import annotations

import dataclasses

import typer

from biolm.cli.arguments import part
from biolm.cli.text_arguments import TextInput, TransformersFolder, documents_of
from biolm.text.settings import PretrainSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(PretrainSettings, TextInput):
    """Options of ``biolm text pretrain``."""

    output: TransformersFolder


def run(chosen: Arguments) -> None:
    """Train a tokenizer and an encoder on raw text: masked whole words and next sentences.

    The result is a folder of BERT with its tokenizer, scored on documents held out.
    """
    from biolm.text.pretrain import pretrain_text

    settings = part(chosen, PretrainSettings)
    documents, _ = documents_of(chosen)
    typer.echo(str(pretrain_text(documents, chosen.output, settings, overwrite=chosen.overwrite)))
