"""``biolm text pretrain``: a tokenizer and an encoder from raw text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.text_arguments import TextInput, documents_of

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text pretrain``."""

    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; transformers reads it too.")
    ]
    tokenizer: Annotated[str, typer.Option(help="wordpiece or bpe.")] = "wordpiece"
    vocab_size: Annotated[int, typer.Option(min=50, help="Pieces to learn.")] = 8000
    d_model: Annotated[int, typer.Option(min=1, help="Width.")] = 128
    n_layers: Annotated[int, typer.Option(min=1, help="Layers.")] = 2
    n_heads: Annotated[int, typer.Option(min=1, help="Heads.")] = 2
    max_length: Annotated[int, typer.Option(min=8, help="Most tokens of a pair of sentences.")] = 128
    rate: Annotated[float, typer.Option(help="Fraction of the pieces that is masked, by whole words.")] = 0.15
    next_sentence: Annotated[float, typer.Option(min=0, help="Weight of next-sentence prediction.")] = 1.0
    steps: Annotated[int, typer.Option(min=1, help="Steps.")] = 200
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs of a step.")] = 16
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 5e-4
    held_out: Annotated[float, typer.Option(help="Fraction of the documents that scores.")] = 0.1
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0


def run(chosen: Arguments) -> None:
    """Train a tokenizer and an encoder on raw text: masked whole words and next sentences.

    The result is a folder of BERT with its tokenizer, scored on documents held out.
    """
    from biolm.text.pretrain import PretrainSettings, pretrain_text

    names = {field.name for field in dataclasses.fields(PretrainSettings)}
    settings = PretrainSettings(**{name: value for name, value in vars(chosen).items() if name in names})
    documents, _ = documents_of(chosen)
    typer.echo(str(pretrain_text(documents, chosen.output, settings, overwrite=chosen.overwrite)))
