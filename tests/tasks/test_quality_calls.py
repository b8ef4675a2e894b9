"""Scores of calls against scikit-learn and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from biolm.errors import InputError
from biolm.scoring.calls import calibration, class_scores, confusion

RNG = np.random.default_rng(0)
TRUTH = RNG.choice(["B", "NK", "T"], 200)
CALLED = np.where(RNG.random(200) < 0.7, TRUTH, RNG.choice(["B", "T"], 200))


def test_confusion_and_class_scores_agree_with_sklearn() -> None:
    names = ["T", "B", "NK"]
    np.testing.assert_array_equal(
        confusion(TRUTH, CALLED, names), confusion_matrix(TRUTH, CALLED, labels=names)
    )
    expected = precision_recall_fscore_support(TRUTH, CALLED, labels=["B", "NK", "T"])
    found = class_scores(TRUTH, CALLED)
    assert [row.name for row in found] == ["B", "NK", "T"]
    np.testing.assert_allclose(
        [[row.precision, row.recall, row.f1, row.cells] for row in found], np.transpose(expected)
    )


def test_a_class_never_called_scores_zero() -> None:
    never = class_scores(["B", "NK"], ["B", "B"])[1]
    assert (never.precision, never.recall, never.f1) == (0, 0, 0)
    assert confusion(["B", "unknown"], ["B", "B"], ["B"]).tolist() == [[1]]


def test_calibration_by_hand() -> None:
    found = calibration([0.05, 0.15, 0.95, 1.0], [0, 1, 1, 0], bins=10)
    np.testing.assert_allclose(found.confidence, [0.05, 0.15, 0.975])
    np.testing.assert_allclose(found.accuracy, [0, 1, 0.5])
    assert found.cells.tolist() == [1, 1, 2]
    assert found.ece == pytest.approx((0.05 + 0.85 + 2 * 0.475) / 4)


def test_calibration_of_an_honest_forecast_is_small() -> None:
    chance = np.random.default_rng(1).random(20_000)
    assert calibration(chance, np.random.default_rng(2).random(20_000) < chance).ece < 0.015


def test_confidence_outside_its_range_is_refused() -> None:
    for wrong in ([1.2], [-0.1], [np.nan], []):
        with pytest.raises(InputError, match="between 0 and 1"):
            calibration(wrong, [True] * len(wrong))
