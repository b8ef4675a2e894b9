"""Scores of cell vectors: known answers, controls, determinism."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import f1_score

from biolm.errors import InputError
from biolm.scoring.quality import (
    difference,
    fit_pca,
    knn_quality,
    macro_f1,
    majority_quality,
    transfer_quality,
)

TYPES = np.repeat(["B", "NK", "T", "other"], [40, 20, 30, 5])


def _vectors(gap: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = {name: gap * rng.normal(size=6) for name in np.unique(TYPES)}
    return rng.normal(size=(len(TYPES), 6)) + np.array([centres[name] for name in TYPES])


def test_macro_f1_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth, called = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    weights = rng.integers(1, 4, (3, 200)).astype(float)
    expected = [f1_score(truth, called, average="macro", sample_weight=row) for row in weights]
    np.testing.assert_allclose(macro_f1(truth, called, weights), expected, rtol=1e-12)


def test_separated_types_score_one_and_noise_scores_chance() -> None:
    apart = knn_quality(_vectors(30), TYPES, leave_out=["other"])
    noise = knn_quality(_vectors(0), TYPES, leave_out=["other"])
    assert apart.macro_f1 == apart.accuracy == apart.high == 1
    assert noise.macro_f1 < 0.5
    assert len(apart.truth) == 90


def test_shuffled_labels_do_no_better_than_noise() -> None:
    shuffled = np.random.default_rng(3).permutation(TYPES[:90])
    assert knn_quality(_vectors(30)[:90], shuffled).macro_f1 < 0.5


def test_interval_holds_the_score_and_repeats_give_the_same_numbers() -> None:
    first, second = (knn_quality(_vectors(1), TYPES, leave_out=["other"], seed=4) for _ in range(2))
    assert first.low < first.macro_f1 < first.high
    assert first.as_dict() == second.as_dict()
    np.testing.assert_array_equal(first.predictions, second.predictions)


def test_length_of_a_vector_does_not_matter() -> None:
    vectors = _vectors(3)
    stretched = vectors * np.random.default_rng(5).uniform(0.1, 10, (len(vectors), 1))
    first, second = (knn_quality(each, TYPES, leave_out=["other"]) for each in (vectors, stretched))
    np.testing.assert_array_equal(first.predictions, second.predictions)


def test_empty_cells_are_scored() -> None:
    vectors = _vectors(30)
    vectors[:2] = 0
    assert len(knn_quality(vectors, TYPES).truth) == len(TYPES)


def test_majority_is_the_commonest_type() -> None:
    score = majority_quality(TYPES, leave_out=["other"])
    assert score.accuracy == pytest.approx(40 / 90)
    assert score.macro_f1 == pytest.approx(2 * 40 / (40 + 90) / 3)


def test_difference_is_paired() -> None:
    good, poor = (knn_quality(_vectors(gap), TYPES, leave_out=["other"], name=str(gap)) for gap in (30, 0))
    gap, low, high = difference(good, poor)
    assert gap == pytest.approx(good.macro_f1 - poor.macro_f1)
    assert 0 < low < gap < high
    assert difference(good, good) == (0, 0, 0)


def test_transfer_uses_common_labels_only() -> None:
    query = np.where(TYPES == "NK", "elsewhere", TYPES)
    score = transfer_quality(_vectors(30), TYPES, _vectors(30), query, leave_out=["other"])
    assert len(score.truth) == 70
    assert score.macro_f1 == 1


def test_pca_projects_new_cells_of_the_same_genes() -> None:
    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(1.0, (60, 30)).astype(np.float32))
    project = fit_pca(counts, components=5)
    assert project(counts).shape == (60, 5)
    np.testing.assert_allclose(project(counts[:7]), project(counts)[:7], rtol=1e-5, atol=1e-6)
    # Counts per 10,000: depth of a cell does not matter.
    np.testing.assert_allclose(project(counts * 3), project(counts), rtol=1e-4, atol=1e-5)


def test_pca_of_an_empty_cell_is_finite() -> None:
    counts = np.random.default_rng(0).poisson(1.0, (20, 12)).astype(float)
    counts[3] = 0
    assert np.isfinite(fit_pca(counts, components=4)(counts)).all()


def test_pca_keeps_variable_genes() -> None:
    rng = np.random.default_rng(0)
    means = rng.uniform(1, 20, 300)
    counts = rng.poisson(means, (80, 300)).astype(float)
    # Every tenth gene, at any mean, is high in half of the cells.
    counts[:40, ::10] *= 4
    kept = fit_pca(counts, components=2, variable_genes=30)
    assert abs(np.corrcoef(kept(counts)[:, 0], np.arange(80) < 40)[0, 1]) > 0.95
    whole = fit_pca(counts, components=2)
    np.testing.assert_array_equal(fit_pca(counts, components=2, variable_genes=300)(counts), whole(counts))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["B"] * 20, "at least two cell types"),
        (["B"] * 20 + ["NK"] * 3, "'NK' has 3 cells"),
    ],
)
def test_impossible_labels_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        knn_quality(np.zeros((len(labels), 2)), labels)


def test_difference_refuses_other_cells() -> None:
    first = knn_quality(_vectors(1), TYPES)
    with pytest.raises(InputError, match="different cells"):
        difference(first, majority_quality(TYPES[:50]))
