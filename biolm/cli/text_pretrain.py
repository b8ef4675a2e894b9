"""``biolm text pretrain``: a tokenizer and an encoder from raw text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.options import Option

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text pretrain``."""

    output: Annotated[
        Path,
        Option(help="Folder to write; transformers reads it too.", flags=("--output", "-o"), panel="Output"),
    ]
    tokenizer: Annotated[str, Option(help="wordpiece or bpe.")] = "wordpiece"
    vocab_size: Annotated[int, Option(help="Pieces to learn.", min=50)] = 8000
    d_model: Annotated[int, Option(help="Width.", min=1)] = 128
    n_layers: Annotated[int, Option(help="Layers.", min=1)] = 2
    n_heads: Annotated[int, Option(help="Heads.", min=1)] = 2
    max_length: Annotated[int, Option(help="Most tokens of a pair of sentences.", min=8)] = 128
    rate: Annotated[float, Option(help="Fraction of the pieces that is masked, by whole words.")] = 0.15
    next_sentence: Annotated[float, Option(help="Weight of next-sentence prediction.", min=0)] = 1.0
    steps: Annotated[int, Option(help="Steps.", min=1)] = 200
    batch_size: Annotated[int, Option(help="Pairs of a step.", min=1, panel="Run")] = 16
    lr: Annotated[float, Option(help="Peak learning rate.")] = 5e-4
    held_out: Annotated[float, Option(help="Fraction of the documents that scores.")] = 0.1
    seed: Annotated[int, Option(help="Seed of everything random.", min=0, panel="Run")] = 0


def run(chosen: Arguments) -> None:
    """Train a tokenizer and an encoder on raw text: masked whole words and next sentences.

    The result is a folder of BERT with its tokenizer, scored on documents held out.
    """
    from biolm.text.pretrain import PretrainSettings, pretrain_text

    names = {field.name for field in dataclasses.fields(PretrainSettings)}
    settings = PretrainSettings(**{name: value for name, value in vars(chosen).items() if name in names})
    documents, _ = documents_of(chosen)
    typer.echo(str(pretrain_text(documents, chosen.output, settings, overwrite=chosen.overwrite)))
