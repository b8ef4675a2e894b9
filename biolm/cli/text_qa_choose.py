"""``biolm text qa choose``: multiple choice with a causal model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.common_options import Seed, input_argument, model_option
from biolm.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm text qa choose``."""

    input: Annotated[Path, input_argument("JSON lines with question, options and, to score, answer.")]
    model: Annotated[str, model_option("Folder or hub id of a causal model.")]
    norm: Annotated[str, Option(help="How options are chosen: sum, byte or unconditional.")] = "unconditional"
    shots: Annotated[int, Option(help="First questions that are shown with their answers.", min=0)] = 0
    orders: Annotated[int, Option(help="Orders of the options that vote.", min=1)] = 1
    seed: Seed = 0


def run(chosen: Arguments) -> None:
    """Choose an option of each question by its likelihood; all three norms are printed.

    With answers given, accuracy and calibration are printed too.
    """
    from biolm.text.chat.local import load_writer
    from biolm.text.models import model_folder
    from biolm.text.qa.ask import ask_all, read_choices

    questions = read_choices(chosen.input)
    core, tokenizer = load_writer(model_folder(chosen.model))
    result = ask_all(
        core,
        tokenizer,
        questions,
        norm=chosen.norm,
        shots=chosen.shots,
        orders=chosen.orders,
        seed=chosen.seed,
    )
    for line in result.lines:
        typer.echo(line)
    typer.echo(result.summary)
