"""Sentences about scores: what they claim where there is nothing to claim, and where two metrics disagree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from biolm.scoring.quality import Score, difference, score_calls
from biolm.scoring.verdicts import against_best, beyond_chance, compared
from biolm.tasks.annotate.numbers import number_row, number_verdict
from biolm.tasks.annotate.score import row, verdict


def _scores(seed: int) -> list[Score]:
    """Three classifiers of random vectors, and the commonest class, on random labels."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(4), [66, 30, 14, 10]))
    vectors = rng.standard_normal((120, 6))
    made = {
        "balanced": LogisticRegression(class_weight="balanced", max_iter=50),
        "plain": LogisticRegression(max_iter=50),
        "neighbours": KNeighborsClassifier(5),
    }
    calls = {name: cross_val_predict(model, vectors, truth, cv=4) for name, model in made.items()}
    calls["majority class"] = np.zeros(120, np.int64)
    return [score_calls(name, truth, called[None]) for name, called in calls.items()]


def test_random_labels_give_no_verdict() -> None:
    draws = 30
    claims = 0
    for seed in range(draws):
        sentence = against_best(*((scores := _scores(seed))[0], scores[1:]))
        claims += "better than" in sentence or "worse than" in sentence
        assert "chance" in sentence or "95 % interval over 3 baselines" in sentence
    assert binomtest(claims, draws, 0.05, alternative="greater").pvalue > 0.01


def test_the_rate_of_scores_beyond_chance_is_nominal() -> None:
    rng = np.random.default_rng(1)
    truth = rng.choice(3, 90, p=[0.6, 0.3, 0.1])
    passed = sum(
        beyond_chance(score_calls("random", truth, rng.choice(3, (1, 90), p=[0.2, 0.3, 0.5])), seed=seed)
        for seed in range(100)
    )
    assert binomtest(int(passed), 100, 0.05).pvalue > 0.001


def test_two_methods_as_good_as_each_other() -> None:
    """Calls right with the same chance: the paired interval leaves out zero in one case of twenty."""
    rng = np.random.default_rng(2)
    claims = 0
    for _ in range(60):
        truth = rng.choice(3, 90)
        calls = [np.where(rng.random(90) < 0.7, truth, rng.choice(3, 90)) for _ in range(2)]
        one, other = (
            score_calls(name, truth, called[None]) for name, called in zip("ab", calls, strict=True)
        )
        claims += "cannot be told apart" not in compared(one, other).split(" It ")[0]
    assert binomtest(claims, 60, 0.05).pvalue > 0.001


@pytest.mark.parametrize(("baselines", "fewest"), [(1, 6), (5, 8)])
def test_few_cells_that_are_called_differently_say_nothing(baselines: int, fewest: int) -> None:
    """The bootstrap within classes gives an interval of no width where a class has one cell."""
    for differing in (fewest - 1, fewest):
        truth = np.r_[np.zeros(30, np.int64), np.arange(1, differing + 1)]
        right, floor = (
            score_calls(name, truth, called[None])
            for name, called in (("right", truth), ("floor", np.zeros(len(truth), np.int64)))
        )
        assert difference(right, floor)[1] > 0
        sentence = against_best(right, [floor] * baselines)
        told = "right is better than floor in macro-F1: +" in sentence
        assert told == (differing == fewest), sentence
        assert ("called differently" in sentence) == (not told)


def test_exchangeable_methods_on_few_cells() -> None:
    """Ten held-out cells, as of a set of fifty: the rate of claims is nominal."""
    rng = np.random.default_rng(3)
    claims = 0
    for seed in range(200):
        truth = np.repeat([0, 1, 2, 3], [5, 3, 1, 1])
        calls = [np.where(rng.random(10) < 0.7, truth, rng.choice(4, 10)) for _ in range(2)]
        one, other = (
            score_calls(name, truth, called[None]) for name, called in zip("ab", calls, strict=True)
        )
        claims += "cannot be told apart" not in compared(one, other, seed=seed).split(" It ")[0]
    assert binomtest(claims, 200, 0.05, alternative="greater").pvalue > 0.01


def test_metrics_that_disagree_are_both_named() -> None:
    truth = np.repeat([0, 1, 2], [160, 20, 20])
    rare = np.where(np.arange(200) % 2 == 0, truth, (truth + 1) % 3)
    rare[160:] = truth[160:]
    rare[:160:3] = 1
    commonest = np.zeros(200, np.int64)
    model, floor = (score_calls(n, truth, c[None]) for n, c in (("model", rare), ("floor", commonest)))
    sentence = against_best(model, [floor])
    assert "model is better than floor in macro-F1: +" in sentence
    assert "It is worse than floor in accuracy: -" in sentence
    assert "accuracy" not in compared(model, model)


def test_numbers_rest_on_a_paired_interval() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(200)
    good, poor = truth + 0.3 * rng.standard_normal(200), truth + rng.standard_normal(200)
    better = number_verdict(number_row("good", truth, good), [number_row("poor", truth, poor)])
    assert "good is better than poor in R2: +" in better[0]
    claims = 0
    for seed in range(100):
        rows = [number_row(name, truth, truth + rng.standard_normal(200)) for name in "abcd"]
        claims += "told apart" not in number_verdict(rows[0], rows[1:], seed=seed)[0]
    assert binomtest(claims, 100, 0.05, alternative="greater").pvalue > 0.001


def test_vectors_that_cross_validation_dropped_are_named() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 40)
    rows = [row(f"biolm linear, {kind}", truth, rng.random((80, 2)), 0) for kind in ("joint", "embedding")]
    rows[0].facts["members"] = "sparse, markers"
    baselines = [row("majority class", truth, np.tile([0.6, 0.4], (80, 1)), 0)]
    words = verdict(rows, baselines)
    assert words[1:] == [
        "Cross-validation dropped the model's vectors: biolm linear, joint rests on sparse, markers alone."
    ]
    rows[0].facts["members"] = "embedding, sparse"
    assert len(verdict(rows, baselines)) == 1
    assert len(verdict(rows[1:], baselines)) == 1
