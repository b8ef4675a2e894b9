from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import accuracy_score, f1_score

from biolm.io.cells import CellBlock
from biolm.scoring import baselines
from biolm.tasks.annotate import frozen
from biolm.tasks.annotate import points as points_module
from biolm.tasks.annotate.calibrate import probabilities, temperature_of, threshold_of
from biolm.tasks.annotate.distance import fit_space
from biolm.tasks.annotate.expression import ExpressionSpace, counts_in, log_normalised
from biolm.tasks.annotate.frozen import fit_recipe, fit_variants
from biolm.tasks.annotate.linear import MEMBERS, UNSEEN, fit_member, mean_map
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.score import row
from biolm.tasks.annotate.settings import FitSettings
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


def points_of(n, seed=0, batches=None):
    vectors, table, codes = make_points(n=n, seed=seed)
    return Points(vectors, table, codes, 3, batches, np.arange(n))


def test_components_are_computed_once_for_all_that_reads_them(monkeypatch):
    computed = []
    usual = points_module.components_of
    monkeypatch.setattr(
        points_module, "components_of", lambda table: (computed.append(table.shape[0]), usual(table))[1]
    )
    fit_variants(points_of(120), FitSettings(), ["joint", "expression"])
    # All cells, and each of five folds: by a member and by the distance of genes.
    assert sorted(computed) == [96, 96, 96, 96, 96, 120]


def test_what_many_cells_chose_is_fitted_on_all_without_choosing_again(monkeypatch):
    monkeypatch.setattr(frozen, "_ENOUGH_CELLS", 100)
    whole, settings = points_of(150), FitSettings()
    train = np.arange(120)
    chosen = fit_variants(whole.take(train), settings, ["joint"])["joint"]
    assert frozen.chosen_on_enough(whole.take(train), 0)
    again = frozen.refit(chosen, whole, settings)
    assert (again.recipe, again.temperature, again.threshold) == (
        chosen.recipe,
        chosen.temperature,
        chosen.threshold,
    )
    own = fit_recipe(whole, chosen.recipe, settings)
    np.testing.assert_array_equal(
        again.scorer.logits(whole.vectors, whole.table), own.logits(whole.vectors, whole.table)
    )
    limits = [[space.limit for space in each.distance.spaces] for each in (again, chosen)]
    assert limits[0] == limits[1]
    centre = fit_space(whole, "vectors").centres
    np.testing.assert_array_equal(again.distance.spaces[0].centres, centre)


@pytest.mark.parametrize(
    ("cells", "batches", "smallest", "enough"),
    [(120, False, 40, True), (90, False, 30, False), (120, True, 40, False), (120, False, 1, False)],
)
def test_few_cells_batches_and_classes_of_one_choose_again(cells, batches, smallest, enough, monkeypatch):
    monkeypatch.setattr(frozen, "_ENOUGH_CELLS", 100)
    points = points_of(cells, batches=np.arange(cells).astype(str) if batches else None)
    points.codes[np.flatnonzero(points.codes == 2)[smallest:]] = 0
    assert frozen.chosen_on_enough(points, 0) == enough


def test_baselines_share_the_components_of_the_counts_they_are_fitted_on(monkeypatch):
    fitted = []
    usual = baselines.leading_components
    monkeypatch.setattr(baselines, "leading_components", lambda *given: (fitted.append(1), usual(*given))[1])
    counts = csr_matrix(np.random.default_rng(0).poisson(1.0, (60, 30)).astype(np.float32))
    labels = np.arange(60) % 2
    kept = [baselines.fit_pca_linear(counts, labels), baselines.fit_pca_knn(counts, labels)]
    assert len(fitted) == 1
    kept.append(baselines.fit_pca_knn(counts.copy(), labels))
    assert len(fitted) == 2
    del kept
    assert not baselines._projections


@pytest.mark.parametrize("names", [["A", "A.1", "B"], ["A", "A.1", "X"]])
def test_counts_of_a_block_are_added_up_by_gene_and_the_block_stays_as_it_is(names):
    block = CellBlock(
        0, np.array([1.0, 2.0, 5.0, 4.0]), np.array([0, 1, 2, 1], np.int32), np.array([0, 3, 4], np.int64), 3
    )
    match = GeneVocabulary(("A", "B"), "symbol", ()).match({"index": np.array(names)})
    wanted = [[3.0, 5.0 * (names[2] == "B")], [4.0, 0.0]]
    for _ in range(2):
        assert counts_in(block, match, 2).toarray().tolist() == wanted
    assert block.indptr.tolist() == [0, 3, 4]
    assert block.data.tolist() == [1.0, 2.0, 5.0, 4.0]
