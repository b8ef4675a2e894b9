"""``biolm text qa yesno``: yes, no or maybe, as PubMedQA asks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.common_options import DEVICE, Overwrite, Seed, input_argument, output_option
from biolm.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm text qa yesno``."""

    input: Annotated[Path, input_argument("Labelled questions of PubMedQA (ori_pqal.json).")]
    test_ids: Annotated[Path, Option(help="The official answers of the test set.")]
    features: Annotated[str, Option(help="tfidf, or an encoder: folder, hub id, minilm.")] = "tfidf"
    parts: Annotated[str, Option(help="question, context or both; never the conclusion.")] = "both"
    output: Annotated[Path | None, output_option("JSON file of the answers.")] = None
    seed: Seed = 0
    # Scores of TF-IDF are computed on the CPU alone.
    device: Annotated[str, dataclasses.replace(DEVICE, needs=("features",))] = "auto"
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Learn to answer yes, no or maybe, and score on the official test set beside the majority."""
    from biolm.io.atomic import refuse_existing, replacing
    from biolm.io.text.questions import read_pubmedqa
    from biolm.text.embed import embed_texts, load_encoder
    from biolm.text.models import model_folder
    from biolm.text.qa.yesno import answers_of, inputs_of, score_yesno, tfidf_answers, vector_answers

    if chosen.output is not None:
        refuse_existing(chosen.output, overwrite=chosen.overwrite)
    train, test = read_pubmedqa(chosen.input, chosen.test_ids)
    if chosen.features == "tfidf":
        answers = tfidf_answers(train, test, parts=chosen.parts, seed=chosen.seed)
    else:
        encoder = load_encoder(model_folder(chosen.features))
        vectors = [
            embed_texts(encoder, inputs_of(part, chosen.parts), device=chosen.device)
            for part in (train, test)
        ]
        answers = vector_answers(vectors[0], answers_of(train), vectors[1], seed=chosen.seed)
    if chosen.output is not None:
        with replacing(chosen.output, overwrite=chosen.overwrite) as path:
            names = [question.name for question in test]
            path.write_text(
                json.dumps(dict(zip(names, answers, strict=True)), indent=1) + "\n", encoding="utf-8"
            )
    typer.echo(str(score_yesno(answers_of(test), answers, answers_of(train), seed=chosen.seed)))
