"""Yes, no or maybe: a linear model over a question and its context, beside the majority.

Dimensions: ``n`` questions · ``d`` width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.text.questions import Question
from biolm.text.scores.answers import class_f1
from biolm.text.scores.bootstrap import Interval, interval_of

__all__ = ["YesNoResult", "answers_of", "inputs_of", "score_yesno", "tfidf_answers", "vector_answers"]


@dataclass(frozen=True, slots=True)
class YesNoResult:
    """Scores of one set of answers; ``gain`` is the paired difference of accuracy to the majority."""

    accuracy: Interval
    macro_f1: float
    majority: float
    gain: Interval

    def __str__(self) -> str:
        verdict = "above the majority" if self.gain.low > 0 else "not shown to be above the majority"
        return (
            f"accuracy {self.accuracy}, macro-F1 {self.macro_f1:.3f}; majority {self.majority:.3f}, "
            f"difference {self.gain}: {verdict}"
        )


def answers_of(questions: Sequence[Question]) -> list[str]:
    """Gold answers.

    Raises
    ------
    InputError
        If a question has none.
    """
    missing = [question.name for question in questions if not question.answers]
    if missing:
        raise InputError(f"question {missing[0]} has no answer")
    return [question.answers[0][0] for question in questions]


def inputs_of(questions: Sequence[Question], parts: str) -> list[str]:
    """What a model reads of each question; the conclusion of the abstract is never among it.

    Parameters
    ----------
    questions
        To answer.
    parts
        What of each is read.

    Raises
    ------
    ConfigError
        If ``parts`` is none of question, context and both.
    """
    if parts not in ("question", "context", "both"):
        raise ConfigError(f"parts must be question, context or both, not {parts!r}")
    return [
        "\n".join(
            ([each.question] if parts != "context" else []) + ([each.context] if parts != "question" else [])
        )
        for each in questions
    ]


def tfidf_answers(
    train: Sequence[Question], test: Sequence[Question], *, parts: str = "both", seed: int = 0
) -> list[str]:
    """Answers of a logistic regression over TF-IDF of one and two words.

    Parameters
    ----------
    train, test
        Questions; gold answers are read of ``train`` alone.
    parts
        ``question``, ``context`` or ``both``.
    seed
        Of the solver.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        # Two words, so that "no difference" is seen as one thing.
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(max_iter=1000, random_state=seed),
    )
    model.fit(inputs_of(train, parts), answers_of(train))
    return [str(answer) for answer in model.predict(inputs_of(test, parts))]


def vector_answers(
    train: NDArray[np.floating], gold: Sequence[str], test: NDArray[np.floating], *, seed: int = 0
) -> list[str]:
    """Answers of a logistic regression over vectors ``(n, d)``, its strength chosen on the training ones.

    Parameters
    ----------
    train, test
        ``(n, d)`` vectors.
    gold
        Answers of the training questions.
    seed
        Of the folds.
    """
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    solver: Any = LogisticRegressionCV(
        Cs=(1e-4, 1e-3, 1e-2, 1e-1),
        cv=5,
        max_iter=500,
        random_state=seed,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    model = make_pipeline(StandardScaler(), solver)
    model.fit(train, list(gold))
    return [str(answer) for answer in model.predict(test)]


def score_yesno(
    gold: Sequence[str], predicted: Sequence[str], train: Sequence[str], *, seed: int = 0
) -> YesNoResult:
    """Accuracy with interval, macro-F1, and the paired difference to the majority of the training answers.

    Parameters
    ----------
    gold, predicted
        Answers by people and by the model.
    train
        Answers of the training questions.
    seed
        Of the intervals.

    Examples
    --------
    >>> result = score_yesno(["yes", "no"] * 30, ["yes", "no"] * 30, ["yes"])
    >>> result.accuracy.value, result.macro_f1, result.majority
    (1.0, 1.0, 0.5)
    """
    names = sorted(set(gold))
    # Of the training answers: the test set's own majority would be known to no method.
    most = max(sorted(set(train)), key=list(train).count)
    right = np.array([a == b for a, b in zip(gold, predicted, strict=True)], float)
    base = np.array([a == most for a in gold], float)
    ones = np.ones_like(right)
    accuracy = interval_of(np.stack([right, ones], 1), lambda sums: sums[:, 0] / sums[:, 1], seed=seed)
    gain = interval_of(np.stack([right - base, ones], 1), lambda sums: sums[:, 0] / sums[:, 1], seed=seed)
    # Macro: "maybe", a tenth of the questions, counts as much as "yes".
    f1 = [class_f1(gold, predicted, name) for name in names]
    return YesNoResult(accuracy, float(np.mean(f1)), float(base.mean()), gain)
