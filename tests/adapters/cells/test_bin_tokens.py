import numpy as np
import pytest
from cell_blocks import backend, block_of, counts, in_blocks, match_of, rows_of, same, vocabulary
from hypothesis import given
from hypothesis import strategies as st

from biolm.adapters.cells import BinTokenizer, in_threads
from biolm.errors import ConfigError

BACKENDS = ("numba", "numpy")


def dense_bins(rows, **settings):
    """Bins of every value of a dense matrix, 0 where nothing is expressed."""
    genes = rows.shape[1]
    adapter = BinTokenizer(token_ids=np.arange(genes), max_length=None, **settings)
    tokens = adapter(block_of(rows), match_of(np.arange(genes)), seed=3)
    binned = np.zeros(rows.shape, int)
    binned[np.repeat(np.arange(len(rows)), tokens.lengths), tokens.ids] = tokens.values
    return binned


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("case", ["ties_raw_counts", "ties_log1p", "no_ties", "preprocessor"])
def test_bins_lie_in_the_recorded_legal_range(goldens, case, kind):
    recorded = np.load(goldens / "scgpt" / "binning.npz")
    rows = recorded[f"{case}/{'log1p' if case == 'preprocessor' else 'values'}"]
    lowest, highest = recorded[f"{case}/lowest"], recorded[f"{case}/highest"]
    assert recorded["n_bins"] == 51
    with backend(kind):
        assert (dense_bins(rows, draw=0) == highest).all()
        assert (dense_bins(rows, draw=1) == lowest).all()
        drawn = dense_bins(rows)
    assert ((drawn >= lowest) & (drawn <= highest)).all()
    if case == "no_ties":
        assert (drawn == recorded["no_ties/binned"]).all()
    else:
        # The reference hits the ends of the range about as often.
        free = highest > lowest
        theirs = recorded[f"{case}/binned"]
        for end in (lowest, highest):
            assert abs((drawn == end)[free].mean() - (theirs == end)[free].mean()) < 0.03


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("n_bins", [3, 11, 51, 200])
def test_edges_are_numpy_quantiles(kind, n_bins):
    rng = np.random.default_rng(n_bins)
    rows = rng.negative_binomial(0.4, 0.05, (30, 200)).astype(float)
    rows[10:20] *= 1000  # too large for the histogram
    rows[20:] = np.log1p(rows[20:])
    with backend(kind):
        binned = dense_bins(rows, n_bins=n_bins, draw=0)
    for row, found in zip(rows, binned, strict=True):
        edges = np.quantile(row[row > 0], np.linspace(0, 1, n_bins - 1))
        assert (found == np.where(row > 0, np.searchsorted(edges, row, side="right"), 0)).all()


def test_tied_genes_spread_evenly_and_independently():
    rows = np.ones((400, 500))
    binned = dense_bins(rows)
    # 49 bins or more are legal for every gene: about 4,000 draws fall in each.
    share = np.bincount(binned.ravel(), minlength=51)[1:] / binned.size
    assert abs(share - 1 / 50).max() < 0.0015
    centred = binned - binned.mean()
    for a, b in ((centred[1:], centred[:-1]), (centred[:, 1:], centred[:, :-1])):
        assert abs((a * b).mean()) / binned.var() < 0.01


def test_seeds_and_cells_draw_differently():
    rows = np.ones((2, 300))
    genes = match_of(np.arange(300))
    adapter = BinTokenizer(token_ids=np.arange(300), max_length=100)
    a, b = adapter(block_of(rows), genes, seed=0), adapter(block_of(rows), genes, seed=1)
    assert same(a, adapter(block_of(rows), genes, seed=0))
    assert (a.values != b.values).mean() > 0.9
    assert set(a[0].ids) != set(a[1].ids)
    assert set(a[0].ids) != set(b[0].ids)


@pytest.mark.parametrize("kind", BACKENDS)
def test_long_cells_are_sampled_evenly(kind):
    rows = np.ones((300, 40))
    rows[:, 30:] = 2
    with backend(kind):
        adapter = BinTokenizer(token_ids=np.arange(40) + 5, max_length=11, cls_id=1)
        tokens = adapter(block_of(rows), match_of(np.arange(40)))
    assert tokens.lengths.tolist() == [11] * 300
    assert (tokens.ids[tokens.offsets[:-1]] == 1).all()
    assert (tokens.values[tokens.offsets[:-1]] == -2).all()
    genes = np.delete(tokens.ids, tokens.offsets[:-1]).reshape(300, 10) - 5
    assert (np.diff(genes, axis=1) > 0).all()  # in file order, each once
    assert abs(np.bincount(genes.ravel(), minlength=40) / 300 - 0.25).max() < 0.1
    # Edges come from all 40 genes, 30 of them 1, not from the sample.
    values = np.delete(tokens.values, tokens.offsets[:-1]).reshape(300, 10)
    assert values[genes < 30].max() < values[genes >= 30].min()


@given(counts(), st.integers(0, 99), st.integers(1, 7), st.integers(1, 4), st.sampled_from([None, 6]))
def test_block_size_and_workers_change_nothing(rows, seed, size, workers, length):
    match, ids, _ = vocabulary(rows.shape[1], seed)
    adapter = BinTokenizer(token_ids=ids, max_length=length, cls_id=2)
    block = block_of(rows, start=1000)

    def tokenize(part):
        return adapter(part, match, seed=seed)

    assert same(tokenize(block), in_blocks(tokenize, block, size))
    assert same(tokenize(block), in_threads(tokenize, block, workers))


@given(counts(), st.integers(0, 99), st.integers(1, 10_000))
def test_order_of_rows_and_integer_factors_keep_the_legal_bins(rows, seed, factor):
    match, ids, _ = vocabulary(rows.shape[1], seed)
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    for draw in (0.0, 0.4, 1.0):
        adapter = BinTokenizer(token_ids=ids, draw=draw)
        whole = adapter(block_of(rows), match)
        moved = adapter(rows_of(block_of(rows), order), match)
        assert all((moved[new].values == whole[old].values).all() for new, old in enumerate(order))
        if draw == 0.0:
            # Edges between two values round differently at another scale, but no value changes sides.
            scaled = adapter(block_of(rows.astype(float) * factor), match)
            assert abs(scaled.values - whole.values).max(initial=0) <= 1


@pytest.mark.parametrize("kind", BACKENDS)
def test_empty_cells_have_special_tokens_only(kind):
    block = block_of(np.array([[0, 0], [3, 0]], np.float32))
    with backend(kind):
        tokens = BinTokenizer(token_ids=np.array([5, 6]), cls_id=1)(block, match_of([0, 1]))
    assert tokens.ids.tolist() == [1, 1, 5]
    assert tokens.values.tolist()[:2] == [-2, -2]
    assert 1 <= tokens.values[2] <= 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_bins": 2}, "n_bins"),
        ({"max_length": 1, "cls_id": 0}, "no room"),
        ({"max_length": 0}, "no room"),
        ({"draw": 1.5}, "draw"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        BinTokenizer(token_ids=np.array([5]), **settings)
