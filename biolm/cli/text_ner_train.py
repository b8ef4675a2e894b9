"""``biolm text ner train``: fine-tune an encoder to tag named entities."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text ner train``."""

    dev: Annotated[Path, Option(help="Documents on which the epoch is chosen.")]
    output: Annotated[
        Path,
        Option(help="Folder to write; transformers reads it too.", flags=("--output", "-o"), panel="Output"),
    ]
    model: Annotated[
        str, Option(help="Folder of an encoder, hub id, or minilm.", flags=("--model", "-m"), panel="Model")
    ] = "minilm"
    epochs: Annotated[int, Option(help="Passes over the documents.", min=1)] = 4
    lr: Annotated[float, Option(help="Peak learning rate.")] = 5e-5
    batch_size: Annotated[int, Option(help="Windows of a step.", min=1, panel="Run")] = 16
    overlap: Annotated[
        int | None, Option(help="Pieces that windows share.", shown="a quarter of a window")
    ] = None
    precision: Annotated[str, Option(help="float32 or bfloat16.", panel="Model")] = "float32"
    freeze_embeddings: Annotated[bool, Option(help="Leave the token embeddings as they are.")] = False
    seed: Annotated[int, Option(help="Seed of everything random.", min=0, panel="Run")] = 0
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"


def run(chosen: Arguments) -> None:
    """Fine-tune an encoder on annotated documents to tag named entities.

    The epoch with the best strict F1 on the development documents is kept.
    """
    from biolm.text.fit import FitSettings
    from biolm.text.models import model_folder
    from biolm.text.ner.train import train_ner

    names = {field.name for field in dataclasses.fields(FitSettings)}
    settings = FitSettings(**{name: value for name, value in vars(chosen).items() if name in names})
    train, _ = documents_of(chosen)
    dev, _ = documents_of(chosen, chosen.dev)
    done = train_ner(
        model_folder(chosen.model), train, dev, chosen.output, settings, overwrite=chosen.overwrite
    )
    log.info(
        "kept epoch %d: strict F1 %.4f on the development documents", done.best + 1, done.scores[done.best]
    )
