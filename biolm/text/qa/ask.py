"""Ask a causal model many questions with options, vote over their orders, and score what it chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biolm.core import Transformer
from biolm.errors import ConfigError, InputError
from biolm.io.damage import damage_named, reason_of
from biolm.io.json_file import parse_json
from biolm.io.text.source import lines_of
from biolm.scoring.calls import calibration
from biolm.text.pieces import PieceTokenizer
from biolm.text.qa.choice import Choice, build_prompt, choose_option, score_options, shuffled, vote
from biolm.text.scores.bootstrap import interval_of

__all__ = ["Chosen", "ask_all", "read_choices"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A line for each question with all three norms, and a summary."""

    lines: tuple[str, ...]
    summary: str
    answers: tuple[str, ...]


@damage_named()
def read_choices(path: Path) -> list[Choice]:
    """Questions of a file of JSON lines: ``question``, ``options``, and ``answer`` as number, letter or text.

    Raises
    ------
    InputError
        If a line has no question, fewer than two options, or an answer that is none of them.
    """
    choices = []
    for number, line in lines_of(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        stored = parse_json(line, where, InputError)
        try:
            options = stored["options"]
            options = tuple(map(str, options.values() if isinstance(options, dict) else options))
            question, answer = str(stored["question"]), stored.get("answer")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where} is no question with options ({reason_of(error)}); correct it"
            ) from error
        letters = [chr(65 + n) for n in range(len(options))]
        if isinstance(answer, str):
            known = letters if answer in letters else list(options)
            answer = known.index(answer) if answer in known else -1
        if len(options) < 2 or (answer is not None and not 0 <= answer < len(options)):
            raise InputError(f"{where} needs two options or more, and an answer that is one of them")
        choices.append(Choice(question, options, answer))
    if not choices:
        raise InputError(f"{path} holds no questions")
    return choices


def ask_all(
    model: Transformer,
    tokenizer: PieceTokenizer,
    questions: Sequence[Choice],
    *,
    norm: str = "unconditional",
    shots: int = 0,
    orders: int = 1,
    seed: int = 0,
) -> Chosen:
    """Choose an option of each question.

    Parameters
    ----------
    model, tokenizer
        A causal core with a token head, and its tokenizer.
    questions
        The first ``shots`` are shown with their answers and not asked.
    norm
        How an option is chosen: ``sum``, ``byte`` or ``unconditional``.
    shots
        Examples in the prompt.
    orders
        Orders of the options, the given one first, that vote.
    seed
        Of the orders.

    Raises
    ------
    ConfigError
        If no question is left to ask.
    """
    examples, asked = questions[:shots], questions[shots:]
    if not asked:
        raise ConfigError(f"{len(questions)} questions leave none to ask behind {shots} examples")
    lines, answers, confidences = [], [], []
    for number, choice in enumerate(asked):
        votes, odds, shown = [], [], ""
        for order in range(orders):
            # Models favour places: the first order is the file's, the others are mixed.
            mixed, _ = shuffled(choice, seed + 1000 * number + order) if order else (choice, None)
            scores = score_options(model, tokenizer, build_prompt(mixed, examples), mixed.options)
            best, probabilities = choose_option(scores, norm)
            votes.append(mixed.options[best])
            odds.append({option: float(p) for option, p in zip(mixed.options, probabilities, strict=True)})
            shown = shown or str(scores)
        winner, agreement = vote(votes)
        answers.append(winner)
        confidences.append(float(np.mean([each[winner] for each in odds])))
        lines.append(f"{winner}\tagreement {agreement:.2f}\t{shown}")
    return Chosen(tuple(lines), _summary(asked, answers, confidences, norm, seed), tuple(answers))


def _summary(
    asked: Sequence[Choice], answers: Sequence[str], confidences: Sequence[float], norm: str, seed: int
) -> str:
    known = [n for n, choice in enumerate(asked) if choice.answer is not None]
    if not known:
        return f"{len(asked)} questions, chosen by {norm}; none has an answer to score"
    right = np.array([answers[n] == asked[n].options[asked[n].answer or 0] for n in known], float)
    chance = float(np.mean([1 / len(asked[n].options) for n in known]))
    table = np.stack([right, np.ones_like(right)], 1)
    accuracy = interval_of(table, lambda sums: sums[:, 0] / sums[:, 1], seed=seed)
    error = calibration(np.array([confidences[n] for n in known]), right > 0).ece
    return f"accuracy {accuracy}, chance {chance:.3f}, calibration error {error:.3f}; chosen by {norm}"
