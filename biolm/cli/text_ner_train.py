"""``biolm text ner train``: fine-tune an encoder to tag named entities."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import part
from biolm.cli.text_arguments import TextInput, TransformersFolder, documents_of
from biolm.common_options import Encoder
from biolm.options import Option
from biolm.progress import log
from biolm.text.settings import FitSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(FitSettings, TextInput):
    """Options of ``biolm text ner train``."""

    dev: Annotated[Path, Option(help="Documents on which the epoch is chosen.")]
    output: TransformersFolder
    model: Encoder = "minilm"


def run(chosen: Arguments) -> None:
    """Fine-tune an encoder on annotated documents to tag named entities.

    The epoch with the best strict F1 on the development documents is kept.
    """
    from biolm.text.models import model_folder
    from biolm.text.ner.train import train_ner

    settings = part(chosen, FitSettings)
    train, _ = documents_of(chosen)
    dev, _ = documents_of(chosen, chosen.dev)
    done = train_ner(
        model_folder(chosen.model), train, dev, chosen.output, settings, overwrite=chosen.overwrite
    )
    log.info(
        "kept epoch %d: strict F1 %.4f on the development documents", done.best + 1, done.scores[done.best]
    )
