"""``biolm text qa train``: fine-tune an encoder to find answers in a text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common, part
from biolm.cli.text_arguments import AnswerMismatch, TransformersFolder
from biolm.common_options import Encoder, Overwrite, input_argument
from biolm.options import Option
from biolm.progress import log
from biolm.text.settings import Epochs, FitSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(FitSettings, Common):
    """Options of ``biolm text qa train``."""

    input: Annotated[Path, input_argument("Questions of SQuAD 1.1 or 2.0 to learn from.")]
    dev: Annotated[Path, Option(help="Questions on which the epoch is chosen.")]
    output: TransformersFolder
    model: Encoder = "minilm"
    on_mismatch: AnswerMismatch = "error"
    epochs: Epochs = 2
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Fine-tune an encoder to find answers in a text; the epoch is chosen by F1 on other questions."""
    from biolm.io.text.questions import read_squad
    from biolm.text.models import model_folder
    from biolm.text.qa.model import train_answerer

    settings = part(chosen, FitSettings)
    train, dev = (read_squad(path, on_mismatch=chosen.on_mismatch) for path in (chosen.input, chosen.dev))
    done = train_answerer(
        model_folder(chosen.model), train, dev, chosen.output, settings, overwrite=chosen.overwrite
    )
    log.info("kept epoch %d: F1 %.2f on the development questions", done.best + 1, done.scores[done.best])
