"""``biolm text qa answer``: find answers in texts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common
from biolm.cli.text_arguments import AnswerMismatch
from biolm.common_options import Device, Overwrite, input_argument, model_option, output_option
from biolm.options import Option
from biolm.progress import log
from biolm.text.settings import Overlap


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm text qa answer``."""

    input: Annotated[Path, input_argument("Questions: SQuAD 1.1 or 2.0, or BioASQ.")]
    model: Annotated[str, model_option("Folder or hub id of a model trained to answer.")]
    output: Annotated[Path, output_option("JSON file to write, as the official scorer reads.")]
    on_mismatch: AnswerMismatch = "error"
    n_best: Annotated[int, Option(help="Answers of a factoid.", min=1)] = 5
    longest: Annotated[int, Option(help="Most pieces of an answer.", min=1)] = 30
    threshold: Annotated[
        float | None,
        Option(help="Answer nothing where that scores higher by more than this.", shown="always answer"),
    ] = None
    tune_on: Annotated[
        Path | None, Option(help="Development questions on which the threshold is chosen.")
    ] = None
    overlap: Overlap = None
    device: Device = "auto"
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Find answers in texts of any length.

    BioASQ factoids get the n best answers; SQuAD questions the best, or none over the threshold.
    """
    from biolm.errors import ConfigError
    from biolm.io.atomic import refuse_existing, replacing
    from biolm.io.text.questions import bioasq_file, read_questions, squad_file
    from biolm.text.models import model_folder
    from biolm.text.pieces import load_pieces
    from biolm.text.qa.model import answer_questions, load_answerer, threshold_on
    from biolm.text.windows import LengthReport

    if chosen.threshold is not None and chosen.tune_on is not None:
        raise ConfigError("give --threshold, or --tune-on to choose it, not both")
    refuse_existing(chosen.output, overwrite=chosen.overwrite)
    kind, questions = read_questions(chosen.input, on_mismatch=chosen.on_mismatch)
    if kind == "squad" and chosen.n_best != 5:
        raise ConfigError("`n_best` is for factoids of BioASQ; SQuAD takes one answer: leave it out")
    folder = model_folder(chosen.model)
    model, tokenizer = load_answerer(folder), load_pieces(folder)
    threshold = chosen.threshold
    if chosen.tune_on is not None:
        _, dev = read_questions(chosen.tune_on, on_mismatch=chosen.on_mismatch)
        threshold = threshold_on(model, tokenizer, dev, overlap=chosen.overlap, device=chosen.device)
        log.info("threshold chosen on %s: %.3f", chosen.tune_on, threshold)
    lengths = LengthReport(tokenizer.longest)
    # BioASQ has questions without snippets, in which there is nothing to find.
    asked = [question for question in questions if question.context.strip()]
    answers_by_name = {
        question.name: answers
        for question, answers, _ in answer_questions(
            model,
            tokenizer,
            asked,
            overlap=chosen.overlap,
            n_best=chosen.n_best,
            longest=chosen.longest,
            threshold=threshold,
            device=chosen.device,
            report=lengths,
        )
    }
    if kind == "squad":
        text = squad_file(
            {q.name: answers_by_name[q.name][0].text if q.name in answers_by_name else "" for q in questions}
        )
    else:
        spans = {
            name: [answer.text for answer in answers if answer.text]
            for name, answers in answers_by_name.items()
        }
        kept = {q.name: spans.get(q.name, []) for q in questions if q.kind in ("factoid", "list")}
        text = bioasq_file(questions, kept, {})
    with replacing(chosen.output, overwrite=chosen.overwrite) as path:
        path.write_text(text, encoding="utf-8")
    log.info("%s", lengths)
