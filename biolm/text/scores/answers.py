"""Scores of answers: EM and F1 of SQuAD, and the official measures of BioASQ task b."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from biolm.errors import InputError
from biolm.io.text.questions import Question

__all__ = ["bioasq_scores", "class_f1", "exact_match", "normal_answer", "squad_scores", "token_f1"]


def normal_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and extra blanks, as the official script of SQuAD.

    Examples
    --------
    >>> normal_answer("The  Denver Broncos!")
    'denver broncos'
    """
    # Only ASCII: the official script leaves typographic quotes where they are.
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def exact_match(answer: str, gold: str) -> float:
    """1 where both are the same after :func:`normal_answer`.

    Parameters
    ----------
    answer, gold
        Answers.
    """
    return float(normal_answer(answer) == normal_answer(gold))


def token_f1(answer: str, gold: str) -> float:
    """F1 of the words of both; where either has none, 1 if both have none.

    Parameters
    ----------
    answer, gold
        Answers.

    Examples
    --------
    >>> token_f1("Denver Broncos", "the Broncos"), token_f1("", ""), token_f1("a", "x")
    (0.6666666666666666, 1.0, 0.0)
    """
    a, b = normal_answer(answer).split(), normal_answer(gold).split()
    if not a or not b:
        return float(a == b)
    same = (Counter(a) & Counter(b)).total()
    return 2 * same / (len(a) + len(b))


def squad_scores(questions: Sequence[Question], answers: Mapping[str, str]) -> dict[str, float]:
    """Mean EM and F1 in percent, each question against the best of its gold answers.

    An unanswerable question has the gold answer of no text. With such questions the scores of both sorts are
    given too.

    Parameters
    ----------
    questions
        With gold answers.
    answers
        By question.

    Raises
    ------
    InputError
        If a question has no answer at all among the predictions.
    """
    missing = [question.name for question in questions if question.name not in answers]
    if missing:
        raise InputError(
            f"the predictions lack {len(missing)} of {len(questions)} questions, first {missing[0]}"
        )
    rows = []
    for question in questions:
        # Official: golds that normalise to nothing are dropped; where none is left the empty answer is right.
        golds = [text for ways in question.answers for text in ways if normal_answer(text)] or [""]
        answer = answers[question.name]
        em = max(exact_match(answer, gold) for gold in golds)
        f1 = max(token_f1(answer, gold) for gold in golds)
        rows.append((em, f1, float(golds != [""])))
    table = np.array(rows).reshape(-1, 3)
    has = table[:, 2] > 0
    scores = {"exact_match": 100 * float(table[:, 0].mean()), "f1": 100 * float(table[:, 1].mean())}
    if not has.all():
        for name, part in (("answerable", has), ("unanswerable", ~has)):
            if part.any():
                scores[f"f1 {name}"] = 100 * float(table[part, 1].mean())
    return scores


def _same(answer: str, ways: Sequence[str]) -> bool:
    return any(answer.strip().lower() == way.strip().lower() for way in ways)


def bioasq_scores(questions: Sequence[Question], answers: Mapping[str, object]) -> dict[str, float]:
    """Official measures of exact answers: yes/no accuracy and macro-F1, factoids, lists.

    Factoids: strict (the first is right), lenient (one of five is), mean reciprocal rank of five. Lists: mean
    precision, recall and F1 of a question. A question without an answer counts as wrong.

    Parameters
    ----------
    questions
        With gold answers.
    answers
        For yes/no a text, for factoids and lists a list of texts.
    """
    scores: dict[str, float] = {}
    by_kind = {kind: [q for q in questions if q.kind == kind] for kind in ("yesno", "factoid", "list")}
    if asked := by_kind["yesno"]:
        gold = [q.answers[0][0].lower() for q in asked]
        predicted = [str(answers.get(q.name, "")).strip().lower() for q in asked]
        scores["yesno accuracy"] = float(np.mean([a == b for a, b in zip(gold, predicted, strict=True)]))
        parts = [class_f1(gold, predicted, name) for name in ("yes", "no")]
        scores["yesno macro_f1"] = float(np.mean(parts))
    if asked := by_kind["factoid"]:
        # BioASQ looks at five answers of a factoid.
        ranks = [_rank(q, _list(answers.get(q.name))[:5]) for q in asked]
        scores["factoid strict"] = float(np.mean([rank == 1 for rank in ranks]))
        scores["factoid lenient"] = float(np.mean([rank > 0 for rank in ranks]))
        scores["factoid mrr"] = float(np.mean([1 / rank if rank else 0.0 for rank in ranks]))
    if asked := by_kind["list"]:
        rows = np.array([_list_row(q, _list(answers.get(q.name))) for q in asked])
        scores |= {
            f"list {name}": float(v)
            for name, v in zip(("precision", "recall", "f1"), rows.mean(0), strict=True)
        }
    return scores


def _list(value: object) -> list[str]:
    if isinstance(value, list | tuple):
        return [str(each[0] if isinstance(each, list | tuple) else each) for each in value]
    return [] if value is None else [str(value)]


def class_f1(gold: Sequence[str], predicted: Sequence[str], name: str) -> float:
    """F1 of one answer among those that classify; 0 where neither side has it.

    Parameters
    ----------
    gold, predicted
        Answers of the same questions.
    name
        The answer.
    """
    hits = sum(a == b == name for a, b in zip(gold, predicted, strict=True))
    whole = sum(a == name for a in gold) + sum(b == name for b in predicted)
    return 2 * hits / whole if whole else 0.0


def _rank(question: Question, predicted: Sequence[str]) -> int:
    ways = [way for each in question.answers for way in each]
    return next((place for place, text in enumerate(predicted, 1) if _same(text, ways)), 0)


def _list_row(question: Question, predicted: Sequence[str]) -> tuple[float, float, float]:
    left = list(question.answers)
    hits = 0
    for text in dict.fromkeys(each.strip().lower() for each in predicted):
        match = next((ways for ways in left if _same(text, ways)), None)
        if match is not None:
            # Each gold entry counts once, whichever of its synonyms was given.
            left.remove(match)
            hits += 1
    given = len({each.strip().lower() for each in predicted})
    precision = hits / given if given else 0.0
    recall = hits / len(question.answers) if question.answers else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0
