"""Leading principal components, beside those of scikit-learn."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random
from sklearn.decomposition import PCA

from biolm.scoring.components import leading_components


@pytest.fixture(scope="module")
def table():
    """A few strong axes over noise without structure, larger than the basis."""
    rng = np.random.default_rng(0)
    strong = rng.standard_normal((700, 6)) @ (rng.standard_normal((6, 500)) * np.linspace(2, 1, 6)[:, None])
    noise = random(700, 500, 0.1, random_state=0, dtype=np.float64)
    return csr_matrix(np.where(rng.random((700, 500)) < 0.5, strong, 0) + noise.toarray(), dtype=np.float32)


def test_strong_axes_are_exact_and_the_rest_holds_as_much_variance(table):
    exact = PCA(20, svd_solver="full").fit(table.toarray().astype(np.float64))
    found = leading_components(table, 20)
    cosines = np.abs((exact.components_[:6] * found.axes[:, :6].T).sum(1))
    assert cosines.min() > 0.999
    held = found.scores.astype(np.float64).var(0, ddof=1)
    assert held.sum() > 0.998 * exact.explained_variance_.sum()
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(20), atol=1e-4)
    np.testing.assert_allclose(found.place(table), found.scores, atol=1e-3)


@pytest.mark.parametrize(("n", "m"), [(40, 90), (90, 40), (5, 5), (3, 200), (2, 2)])
def test_small_tables_are_taken_apart_exactly(n, m):
    dense = np.random.default_rng(1).poisson(1.0, (n, m)).astype(np.float32)
    count = min(10, min(n, m) - 1)
    exact = PCA(count, svd_solver="full").fit(dense.astype(np.float64))
    found = leading_components(csr_matrix(dense), 10)
    assert found.axes.shape == (m, count)
    np.testing.assert_allclose(
        found.scores.astype(np.float64).var(0, ddof=1), exact.explained_variance_, rtol=1e-3, atol=1e-4
    )


def test_the_same_seed_gives_the_same_and_a_constant_table_no_nan(table):
    first, again = (leading_components(table, 10, seed=2) for _ in range(2))
    np.testing.assert_array_equal(first.axes, again.axes)
    constant = leading_components(csr_matrix(np.ones((400, 380), np.float32)), 5)
    assert np.isfinite(constant.axes).all()
    np.testing.assert_allclose(constant.scores, 0, atol=1e-3)
