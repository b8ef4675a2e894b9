"""``biolm text evaluate``: predictions against gold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.text_arguments import TextInput
from biolm.common_options import Seed, model_option
from biolm.options import Option, refuse_others
from biolm.text.settings import SCORED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text evaluate``."""

    gold: Annotated[Path | None, Option(help="Gold: documents, questions, or a reference a line.")] = None
    kind: Annotated[
        str, Option(help="ner, bc5cdr, squad, bioasq, bleu, rouge or perplexity.", choices=tuple(SCORED))
    ] = "ner"
    other: Annotated[
        Path | None, Option(help="Other predictions to compare with, in pairs.", shown="none")
    ] = None
    lenient: Annotated[bool, Option(help="Also the lenient F1 of seqeval's default, for CoNLL files.")] = (
        False
    )
    model: Annotated[str | None, model_option("Causal model whose perplexity is measured.")] = None
    stride: Annotated[int | None, Option(help="Tokens a window moves on by.", shown="half")] = None
    seed: Seed = 0


def run(chosen: Arguments) -> None:
    """Score predictions (INPUT) against gold, with intervals by document bootstrap.

    "better" is said of a comparison only where the paired interval excludes 0.
    """
    from biolm.text.scores.report import evaluate_files

    used = {"input", "kind", "quiet", "debug", *SCORED[chosen.kind]}
    refuse_others(chosen, used, f"does nothing for `kind={chosen.kind}`")
    for line in evaluate_files(
        chosen.kind,
        chosen.input,
        gold=chosen.gold,
        other=chosen.other,
        reading=chosen.reading(),
        lenient=chosen.lenient,
        model=chosen.model,
        stride=chosen.stride,
        seed=chosen.seed,
    ):
        typer.echo(line)
