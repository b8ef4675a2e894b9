"""``biolm text qa yesno``: yes, no or maybe, as PubMedQA asks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm text qa yesno``."""

    input: Annotated[Path, typer.Argument(help="Labelled questions of PubMedQA (ori_pqal.json).")]
    test_ids: Annotated[Path, typer.Option("--test-ids", help="The official answers of the test set.")]
    features: Annotated[str, typer.Option(help="tfidf, or an encoder: folder, hub id, minilm.")] = "tfidf"
    parts: Annotated[str, typer.Option(help="question, context or both; never the conclusion.")] = "both"
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file of the answers.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False


def run(chosen: Arguments) -> None:
    """Learn to answer yes, no or maybe, and score on the official test set beside the majority."""
    from biolm.io.atomic import replacing
    from biolm.io.text.questions import read_pubmedqa
    from biolm.text.embed import embed_texts, load_encoder
    from biolm.text.models import model_folder
    from biolm.text.qa.yesno import answers_of, inputs_of, score_yesno, tfidf_answers, vector_answers

    train, test = read_pubmedqa(chosen.input, chosen.test_ids)
    if chosen.features == "tfidf":
        found = tfidf_answers(train, test, parts=chosen.parts, seed=chosen.seed)
    else:
        encoder = load_encoder(model_folder(chosen.features))
        vectors = [
            embed_texts(encoder, inputs_of(part, chosen.parts), device=chosen.device)
            for part in (train, test)
        ]
        found = vector_answers(vectors[0], answers_of(train), vectors[1], seed=chosen.seed)
    if chosen.output is not None:
        with replacing(chosen.output, overwrite=chosen.overwrite) as path:
            names = [question.name for question in test]
            path.write_text(
                json.dumps(dict(zip(names, found, strict=True)), indent=1) + "\n", encoding="utf-8"
            )
    typer.echo(str(score_yesno(answers_of(test), found, answers_of(train), seed=chosen.seed)))
