"""L1 logistic regression of all classes at once, beside liblinear."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from biolm.scoring.baselines import l1_penalty
from biolm.scoring.sparse_logistic import sparse_logistic


def cells(n=200, genes=60, classes=3, seed=0):
    """Sparse counts in which a few genes tell the classes apart."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % classes
    rates = np.full((classes, genes), 0.4)
    rates[np.arange(classes), np.arange(classes)] = 2.0
    return csr_matrix(np.log1p(rng.poisson(rates[codes])).astype(np.float32)), codes


def objective(table, inside, weights, bias, costs):
    margins = np.where(inside, 1, -1) * (table @ weights + bias)
    return (costs * np.logaddexp(0, -margins)).sum() + np.abs(weights).sum() + abs(bias)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("classes", [1, 3, 8, 11])
def test_no_class_is_fitted_worse_than_by_liblinear(classes, balanced):
    table, codes = cells(n=220, classes=max(classes, 2))
    inside = codes[:, None] == np.arange(classes)
    found = sparse_logistic(table, inside, strength=0.5, balanced=balanced, tolerance=1e-4)
    for k in range(classes):
        kind = "balanced" if balanced else None
        model = LogisticRegression(
            C=0.5, solver="liblinear", class_weight=kind, tol=1e-4, random_state=0, **l1_penalty()
        ).fit(table, inside[:, k])
        sizes = np.where(inside[:, k], inside[:, k].sum(), (~inside[:, k]).sum())
        costs = 0.5 * len(codes) / 2 / sizes if balanced else np.full(len(codes), 0.5)
        ours = objective(table, inside[:, k], found[0][:, k], found[1][k], costs)
        theirs = objective(table, inside[:, k], model.coef_[0], model.intercept_[0], costs)
        assert ours == pytest.approx(theirs, rel=2e-3)


def test_a_class_comes_out_alike_beside_any_others():
    table, codes = cells(classes=10)
    inside = codes[:, None] == np.arange(10)
    options = {"strength": 0.5, "balanced": True, "tolerance": 1e-4}
    whole = sparse_logistic(table, inside, **options)
    alone = sparse_logistic(table, inside[:, 4:5], **options)
    likely = [table @ weights[:, k] + bias[k] for (weights, bias), k in ((whole, 4), (alone, 0))]
    np.testing.assert_allclose(likely[0], likely[1], atol=0.05)


def test_genes_that_tell_nothing_get_no_weight_and_the_same_seed_gives_the_same():
    table, codes = cells()
    inside = codes[:, None] == np.arange(3)
    options = {"strength": 0.1, "balanced": True, "tolerance": 1e-3}
    weights, _ = sparse_logistic(table, inside, **options, seed=3)
    assert (weights[np.arange(3), np.arange(3)] > 0).all()
    assert (weights[10:] != 0).mean() < 0.2
    np.testing.assert_array_equal(weights, sparse_logistic(table, inside, **options, seed=3)[0])


@pytest.mark.parametrize("content", [np.zeros((6, 4)), np.eye(6, 4) * 1e4], ids=["nothing", "large"])
def test_tables_of_nothing_and_of_large_values_end_in_finite_weights(content):
    inside = np.arange(6)[:, None] == np.array([0, 1])
    found = sparse_logistic(csr_matrix(content), inside, strength=1.0, balanced=True, tolerance=1e-2)
    assert all(np.isfinite(each).all() for each in found)
