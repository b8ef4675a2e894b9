"""Question files: SQuAD 1.1 and 2.0, BioASQ, PubMedQA; answers in the forms their scorers read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.damage import damage_named, reason_of
from biolm.io.json_file import parse_json
from biolm.io.text.source import open_text

__all__ = [
    "Question",
    "bioasq_file",
    "exact_answers",
    "read_bioasq",
    "read_pubmedqa",
    "read_questions",
    "read_squad",
    "squad_file",
]


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its context and gold answers.

    Parameters
    ----------
    name
        Identifier.
    question, context
        Texts; the context of BioASQ is its snippets, joined by line ends.
    answers
        Gold answers; each is a tuple of the ways to write it. Empty where unanswerable or not known.
    starts
        ``answer_start`` of each answer of SQuAD, in code points.
    kind
        ``span``; ``yesno``, ``factoid``, ``list`` or ``summary`` of BioASQ; ``yesno`` of PubMedQA.
    impossible
        Whether the context does not answer it (SQuAD 2.0).
    metadata
        Other plain values.
    """

    name: str
    question: str
    context: str
    answers: tuple[tuple[str, ...], ...] = ()
    starts: tuple[int, ...] = ()
    kind: str = "span"
    impossible: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)


def _load(path: Path) -> Any:
    with open_text(path) as file:
        return parse_json(file.read(), path, InputError)


@contextmanager
def _form(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not in the form of {name} ({reason_of(error)}); fetch it again"
        ) from error


@damage_named()
def read_squad(path: Path, *, on_mismatch: str = "error") -> list[Question]:
    """Questions of SQuAD 1.1 or 2.0.

    Parameters
    ----------
    path
        The file.
    on_mismatch
        An answer that is not at its ``answer_start``: ``error``, or ``skip`` the answer.

    Raises
    ------
    InputError
        If the file has another form, or an answer is not where it is said to be.
    """
    questions = []
    content = _load(path)
    with _form(path, "SQuAD"):
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                questions += [
                    _squad_question(item, paragraph["context"], path, on_mismatch)
                    for item in paragraph["qas"]
                ]
    return questions


def _squad_question(item: Mapping[str, Any], context: str, path: Path, on_mismatch: str) -> Question:
    answers, starts = [], []
    for answer in item.get("answers", ()):
        text, start = answer["text"], int(answer["answer_start"])
        if context[start : start + len(text)] != text:
            if on_mismatch == "error":
                there = context[start : start + len(text)]
                raise InputError(
                    f"{path}, question {item['id']}: the answer {text!r} is not at its answer_start {start} "
                    f'({there!r} is there); correct it, or leave such answers out (`on_mismatch="skip"`)'
                )
            continue
        answers.append((text,))
        starts.append(start)
    impossible = bool(item.get("is_impossible", False))
    return Question(
        str(item["id"]), item["question"], context, tuple(answers), tuple(starts), impossible=impossible
    )


@damage_named()
def read_questions(path: Path, *, on_mismatch: str = "error") -> tuple[str, list[Question]]:
    """``squad`` or ``bioasq``, by what the file holds, and its questions.

    Parameters
    ----------
    path
        Of the file.
    on_mismatch
        An answer that is not at its place: ``error`` or ``skip``.

    Raises
    ------
    InputError
        If it holds neither.
    """
    content = _load(path)
    if isinstance(content, dict) and "questions" in content:
        return "bioasq", read_bioasq(path)
    return "squad", read_squad(path, on_mismatch=on_mismatch)


def squad_file(answers: Mapping[str, str]) -> str:
    """Predictions as the official script reads them: an object from question to text."""
    return json.dumps(dict(answers), ensure_ascii=False, indent=1) + "\n"


def exact_answers(stored: Any, kind: str) -> tuple[tuple[str, ...], ...]:
    """Gold answers of BioASQ, stored as text, list or list of lists.

    Of a factoid a flat list holds ways to write one answer; of a list question it holds several answers.

    Parameters
    ----------
    stored
        As the file holds them.
    kind
        Of the question.

    Examples
    --------
    >>> exact_answers("yes", "yesno"), exact_answers(["a", "b"], "factoid"), exact_answers(["a", "b"], "list")
    ((('yes',),), (('a', 'b'),), (('a',), ('b',)))
    >>> exact_answers([["a", "A"], ["b"]], "list")
    (('a', 'A'), ('b',))
    """
    if stored is None:
        return ()
    if isinstance(stored, str):
        return ((stored.strip(),),)
    nested = [each if isinstance(each, list) else None for each in stored]
    if kind == "list":
        return tuple(
            tuple(part) if part is not None else (str(each),)
            for part, each in zip(nested, stored, strict=True)
        )
    flat: list[str] = []
    for part, each in zip(nested, stored, strict=True):
        flat += part if part is not None else [str(each)]
    return (tuple(flat),) if flat else ()


@damage_named()
def read_bioasq(path: Path) -> list[Question]:
    """Questions of BioASQ task b.

    Raises
    ------
    InputError
        If the file has another form.
    """
    questions = []
    content = _load(path)
    with _form(path, "BioASQ"):
        for item in content["questions"]:
            kind = item["type"]
            snippets = [part["text"] for part in item.get("snippets", ())]
            ideal = item.get("ideal_answer", [])
            rest = {"ideal": [ideal] if isinstance(ideal, str) else list(ideal)}
            answers = exact_answers(item.get("exact_answer"), kind)
            name = str(item["id"])
            questions.append(
                Question(name, item["body"], "\n".join(snippets), answers, kind=kind, metadata=rest)
            )
    return questions


def bioasq_file(questions: Sequence[Question], answers: Mapping[str, Any], ideal: Mapping[str, str]) -> str:
    """Answers as BioASQ takes them: up to five lists for a factoid, lists of one for a list, or text.

    Parameters
    ----------
    questions
        Whose answers they are.
    answers, ideal
        Exact and ideal answers by question.
    """
    rows = []
    for question in questions:
        row: dict[str, Any] = {"id": question.name, "type": question.kind, "body": question.question}
        row["ideal_answer"] = ideal.get(question.name, "")
        exact = answers.get(question.name)
        if question.kind == "yesno":
            row["exact_answer"] = exact
        elif question.kind == "factoid":
            row["exact_answer"] = [[each] for each in (exact or [])[:5]]
        elif question.kind == "list":
            row["exact_answer"] = [[each] for each in exact or []]
        rows.append(row)
    return json.dumps({"questions": rows}, ensure_ascii=False, indent=1) + "\n"


@damage_named()
def read_pubmedqa(path: Path, test_ids: Path | None = None) -> tuple[list[Question], list[Question]]:
    """Labelled questions of PubMedQA, split by the official file of test answers.

    The conclusion of the abstract (``LONG_ANSWER``) answers the question, so it is read into ``metadata`` and
    is never part of the context.

    Parameters
    ----------
    path
        ``ori_pqal.json``.
    test_ids
        ``test_ground_truth.json``; without it every question is in the first list.

    Returns
    -------
    Questions to train on, and those of the test set.

    Raises
    ------
    InputError
        If the test file names questions that the data lack, or disagrees with their answers.
    """
    content = _load(path)
    gold = {} if test_ids is None else _load(test_ids)
    missing = sorted(set(gold) - set(content))
    if missing:
        raise InputError(f"{path} lacks {len(missing)} of the {len(gold)} test questions, first {missing[0]}")
    train: list[Question] = []
    test: list[Question] = []
    with _form(path, "PubMedQA"):
        for name, item in content.items():
            answer = item["final_decision"]
            if name in gold and gold[name] != answer:
                raise InputError(
                    f"question {name} is answered {answer} in the data but {gold[name]} in the test file"
                )
            metadata = {"long_answer": item.get("LONG_ANSWER", ""), "mesh": item.get("MESHES", [])}
            contexts = "\n".join(item["CONTEXTS"])
            question = Question(
                name, item["QUESTION"], contexts, ((answer,),), kind="yesno", metadata=metadata
            )
            # By the official file alone: any other split does not compare with published scores.
            (test if name in gold else train).append(question)
    return train, test
