from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import accuracy_score, f1_score

from biolm.tasks.annotate.calibrate import probabilities, temperature_of, threshold_of
from biolm.tasks.annotate.expression import ExpressionSpace, log_normalised
from biolm.tasks.annotate.linear import MEMBERS, UNSEEN, fit_member, mean_map
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.tasks.annotate.score import row
from biolm.vocab.genes import GeneVocabulary


def make_points(n=90, c=3, seed=0):
    draws = np.random.default_rng(seed)
    codes = np.arange(n) % c
    vectors = draws.normal(size=(n, 6)).astype(np.float32) + 3 * np.eye(c, 6, dtype=np.float32)[codes]
    counts = draws.poisson(0.5 + 3 * np.repeat(np.eye(c, 10), 4, axis=1)[codes])
    return vectors, log_normalised(csr_matrix(counts.astype(np.float32))), codes


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_learns(name, c):
    vectors, table, codes = make_points(c=c)
    fitted = fit_member(name, vectors, table, codes, c, 0)
    assert fitted.reads_vectors == (name == "embedding")
    more, other, truth = make_points(c=c, seed=1)
    assert (fitted.logits(more, other).argmax(1) == truth).mean() > 0.8


def test_a_class_without_cells_is_never_chosen():
    vectors, table, codes = make_points(c=2)
    fitted = fit_member("markers", vectors, table, codes * 2, 3, 0)
    assert fitted.bias[1] == UNSEEN
    assert not (fitted.logits(vectors, table).argmax(1) == 1).any()


def test_the_mean_of_maps_gives_the_mean_of_logits():
    vectors, table, codes = make_points()
    parts = [fit_member(name, vectors, table, codes, 3, 0) for name in ("embedding", "sparse")]
    joined = mean_map(parts).logits(vectors, table)
    np.testing.assert_allclose(
        joined, np.mean([part.logits(vectors, table) for part in parts], axis=0), atol=1e-4
    )


def test_lacking_no_gene_changes_nothing_and_lacking_some_is_made_up_for():
    draws = np.random.default_rng(0)
    factor = draws.normal(size=(400, 1))
    counts = csr_matrix(draws.poisson(np.exp(1 + factor * np.ones((1, 20)))).astype(np.float32))
    space = ExpressionSpace.of(GeneVocabulary.of([f"g{k}" for k in range(20)], species=[]), counts)
    genes = draws.normal(size=(20, 2)).astype(np.float32)
    everything, bias = space.without(np.ones(20, bool), genes)
    np.testing.assert_allclose(everything, genes)
    np.testing.assert_allclose(bias, 0, atol=1e-6)
    half = np.arange(20) < 10
    held, bias = space.without(half, genes)
    assert not held[~half].any()
    table = log_normalised(counts).toarray()
    wanted = table @ genes
    average = table @ np.where(half[:, None], genes, 0) + space.mean[~half] @ genes[~half]
    estimated = table @ held + bias
    assert np.square(estimated - wanted).mean() < np.square(average - wanted).mean()


def test_neighbours_vote_by_angle():
    points = np.array([[2, 0], [1.9, 0.1], [0, 2], [-2, -2]], np.float32)
    fitted = Neighbours.fit(points, np.array([0, 0, 1, 2]), 3, 2)
    assert fitted.logits(points).argmax(1).tolist()[:1] == [0]
    assert np.isfinite(fitted.logits(np.zeros((1, 2), np.float32))).all()


def test_temperature_is_recovered():
    draws = np.random.default_rng(0)
    logits = draws.normal(size=(4000, 3))
    codes = np.array([draws.choice(3, p=row) for row in probabilities(logits)])
    assert temperature_of(4 * logits, codes) == pytest.approx(4, rel=0.15)


def test_the_threshold_rejects_the_share_that_was_asked():
    confidence = np.random.default_rng(0).random(1000)
    assert (confidence < threshold_of(confidence, 0.1)).mean() == pytest.approx(0.1, abs=0.005)
    assert threshold_of(confidence, 0) == 0


def test_scores_are_those_of_scikit_learn():
    draws = np.random.default_rng(0)
    truth, held = draws.integers(0, 4, 200), draws.dirichlet(np.ones(4), 200)
    scores = row("x", truth, held, 0).facts
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, held.argmax(1), average="macro"), abs=1e-6)
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, held.argmax(1)), abs=1e-6)
