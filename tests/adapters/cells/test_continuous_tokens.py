import numpy as np
import pytest
from cell_blocks import backend, block_of, counts, in_blocks, match_of, rows_of, same, vocabulary
from hypothesis import given
from hypothesis import strategies as st

from biolm.adapters.cells import ContinuousTokenizer, in_threads
from biolm.adapters.cells.kernels import kernel
from biolm.errors import ConfigError

BACKENDS = ("numba", "numpy")


@pytest.mark.parametrize("kind", BACKENDS)
def test_values_are_log_normalised(kind):
    rng = np.random.default_rng(0)
    rows = rng.poisson(0.7, (20, 60)).astype(np.float32)
    target = np.where(np.arange(60) < 50, np.arange(60), -1)  # unknown genes count in the total
    with backend(kind):
        tokens = ContinuousTokenizer(token_ids=np.arange(50) + 3, cls_id=1)(block_of(rows), match_of(target))
    expected = np.log1p(rows.astype(float) / rows.sum(1, keepdims=True, dtype=float) * 1e4)
    for row in range(20):
        ids, values, index = tokens[row]
        genes = np.flatnonzero(rows[row, :50])
        assert index == row
        assert ids.tolist() == [1, *(genes + 3)]
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, np.float32([0, *expected[row, genes]]))


@pytest.mark.parametrize("kind", BACKENDS)
def test_the_logarithm_is_exact_to_float32(kind):
    rng = np.random.default_rng(1)
    values = np.concatenate([10.0 ** rng.uniform(-40, 30, 200_000), [0, 1, 1e-45, 1e4, 2**0.5 - 1]])
    out = np.empty(len(values), np.float32)
    with backend(kind):
        kernel("log1p", len(values))(values.copy(), out)
    exact = np.log1p(values.astype(np.longdouble)).astype(np.float32)
    assert (out != exact).mean() < 1e-5
    np.testing.assert_allclose(out, exact, rtol=2e-7)


def test_values_may_stay_as_they_are():
    rows = np.array([[2.5, 0, 7]], np.float32)
    tokens = ContinuousTokenizer(token_ids=np.arange(3), target_sum=None, log1p=False)(
        block_of(rows), match_of([0, 1, 2])
    )
    assert tokens.values.tolist() == [2.5, 7]


@pytest.mark.parametrize("kind", BACKENDS)
def test_long_cells_keep_their_highest_values(kind):
    rng = np.random.default_rng(2)
    ids = rng.permutation(3000).astype(np.int32)
    rows = rng.integers(0, 4, (6, 3000)) + (rng.random((6, 3000)) < 0.01) * rng.random((6, 3000)) * 1e6
    adapter = ContinuousTokenizer(token_ids=ids, max_length=500)
    with backend(kind):
        tokens = adapter(block_of(rows), match_of(np.arange(3000)))
    for row in range(6):
        best = np.lexsort((ids, -rows[row]))[:500]  # largest first, ties by token id
        assert tokens[row].ids.tolist() == ids[np.sort(best)].tolist()


def test_long_cells_may_be_sampled():
    rows = np.tile(np.arange(1, 41), (200, 1))
    adapter = ContinuousTokenizer(token_ids=np.arange(40), max_length=10, keep="sample")
    tokens = adapter(block_of(rows), match_of(np.arange(40)))
    assert tokens.lengths.tolist() == [10] * 200
    assert abs(np.bincount(tokens.ids, minlength=40) / 200 - 0.25).max() < 0.12


@given(
    counts(), st.integers(0, 99), st.integers(1, 7), st.integers(1, 4), st.sampled_from(["highest", "sample"])
)
def test_block_size_and_workers_change_nothing(rows, seed, size, workers, keep):
    match, ids, _ = vocabulary(rows.shape[1], seed)
    adapter = ContinuousTokenizer(token_ids=ids, max_length=8, keep=keep)
    block = block_of(rows, start=5)

    def tokenize(part):
        return adapter(part, match, seed=seed)

    assert same(tokenize(block), in_blocks(tokenize, block, size))
    assert same(tokenize(block), in_threads(tokenize, block, workers))


@given(counts(), st.integers(0, 99), st.integers(1, 10_000))
def test_order_of_rows_and_integer_factors_change_nothing(rows, seed, factor):
    match, ids, _ = vocabulary(rows.shape[1], seed)
    adapter = ContinuousTokenizer(token_ids=ids, max_length=8)
    whole = adapter(block_of(rows), match)
    assert same(whole, adapter(block_of(rows.astype(float) * factor), match))
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    moved = adapter(rows_of(block_of(rows), order), match)
    assert all((moved[new].values == whole[old].values).all() for new, old in enumerate(order))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"target_sum": 0}, "target_sum"), ({"max_length": 1, "cls_id": 0}, "no room"), ({"keep": "x"}, "keep")],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ContinuousTokenizer(token_ids=np.array([5]), **settings)
