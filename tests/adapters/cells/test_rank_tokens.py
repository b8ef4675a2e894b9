import gzip
import json

import h5py
import numpy as np
import pytest
from cell_blocks import backend, block_of, counts, in_blocks, match_of, rows_of, same, vocabulary
from hypothesis import given
from hypothesis import strategies as st

from biolm.adapters.cells import RankTokenizer, in_threads
from biolm.errors import ConfigError, InputError
from biolm.io.cells.block import CellBlock

BACKENDS = ("numba", "numpy")


@pytest.fixture(scope="module")
def recorded(goldens):
    """The folder, its cells, their genes and their totals over all genes of the source."""
    folder = goldens / "geneformer_tokens"
    with h5py.File(folder / "counts.h5ad") as file:
        genes, totals = file["var/ensembl_id"].asstr()[:], file["obs/n_counts"][:]
        matrix = file["X"]
        block = CellBlock(
            start=0,
            data=matrix["data"][:],
            indices=matrix["indices"][:],
            indptr=matrix["indptr"][:].astype(np.int64),
            n_genes=len(genes),
        )
    return folder, block, genes, totals


def dictionary(path):
    with gzip.open(path) as file:
        return json.load(file)


def tokenizer(folder, prefix, genes, *, medians=None, **settings):
    """The tokenizer of one recorded dictionary, and the match of the genes to it."""
    ids = dictionary(folder / f"{prefix}token_dictionary.json.gz")
    table = dictionary(folder / f"{prefix}gene_median_dictionary.json.gz")
    known = [gene for gene in ids if gene in table]
    rows = {gene: row for row, gene in enumerate(known)}
    middle = np.array([table[gene] for gene in known])
    adapter = RankTokenizer(
        token_ids=np.array([ids[gene] for gene in known]),
        medians=middle if medians is None else medians(middle),
        **settings,
    )
    return adapter, match_of([rows.get(gene, -1) for gene in genes]), ids


def assert_equal_outside_ties(tokens, golden, before=0):
    """Same tokens at every place, save swaps of neighbours that another arithmetic may make.

    Places of near ties are counted from the first gene, after ``before`` special tokens.
    """
    assert (tokens.offsets == golden["offsets"]).all()
    cell, place = golden["near_tie_pairs"].T
    first = golden["offsets"][cell] + place + before
    expected = golden["input_ids"].astype(np.int32)
    free = np.zeros(len(expected), bool)
    free[first] = free[first + 1] = True
    assert (tokens.ids == expected)[~free].all()
    assert all(
        (np.sort(tokens[row].ids) == np.sort(expected[a:b])).all()
        for row, (a, b) in enumerate(zip(golden["offsets"], golden["offsets"][1:], strict=False))
        if free[a:b].any() and not free[b - 1]
    )
    assert free.mean() < 0.01


def per_10_000(tokens, recorded):
    """Counts as the reference has them: over totals that include genes which the file no longer holds."""
    _, block, _, totals = recorded
    ours = np.add.reduceat(block.data, block.indptr[:-1])
    return tokens.values * np.repeat(ours / totals, tokens.lengths)


@pytest.mark.parametrize("kind", BACKENDS)
def test_version_1(recorded, kind):
    folder, block, genes, _ = recorded
    golden = np.load(folder / "tokens_v1.npz")
    adapter, match, _ = tokenizer(folder, "", genes, max_length=2048, keep_counts=True)
    with backend(kind):
        tokens = adapter(block, match)
    assert_equal_outside_ties(tokens, golden)
    medians = np.zeros(30_000)
    medians[adapter.token_ids] = adapter.medians
    values = (per_10_000(tokens, recorded) / medians[tokens.ids])[: len(golden["values_first40cells"])]
    np.testing.assert_allclose(values, golden["values_first40cells"], rtol=1e-6)


def test_version_1_with_rounded_medians(recorded):
    folder, block, genes, _ = recorded
    golden = np.load(folder / "tokens_v1_rounded_medians.npz")
    adapter, match, _ = tokenizer(
        folder, "", genes, max_length=2048, medians=lambda m: np.maximum(0.5, np.round(2 * m) / 2)
    )
    tokens = adapter(rows_of(block, golden["rows"].tolist()), match)
    assert (tokens.offsets == golden["offsets"]).all()
    compared = 0
    for row in range(len(tokens)):
        span = slice(golden["offsets"][row], golden["offsets"][row + 1])
        values, expected = golden["values"][span], golden["input_ids"][span]
        ends = np.flatnonzero(np.diff(values) < -1e-12 * values[:-1]) + 1
        runs = list(zip([0, *ends], [*ends, len(values)], strict=True))
        if golden["first_cut_value"][row] >= values[-1] * (1 - 1e-12):
            runs.pop()  # the cut goes through this tie: which of it stays is free
        for start, stop in runs:
            assert set(tokens[row].ids[start:stop]) == set(expected[start:stop])
            compared += stop - start
    assert compared > 0.7 * len(golden["input_ids"])


@pytest.mark.parametrize("length", [4096, 512])
def test_version_2(recorded, length):
    folder, block, genes, _ = recorded
    golden = np.load(folder / ("tokens_v2.npz" if length == 4096 else "tokens_v2_len512.npz"))
    adapter, match, ids = tokenizer(
        folder, "v2like_", genes, max_length=length, cls_id=2, eos_id=3, keep_counts=True
    )
    assert (ids["<cls>"], ids["<eos>"]) == (2, 3)
    tokens = adapter(block, match)
    assert_equal_outside_ties(tokens, golden, before=1)
    if length == 4096:
        values = golden["counts_first20cells"]
        np.testing.assert_allclose(per_10_000(tokens, recorded)[: len(values)], values, rtol=1e-6)


@pytest.mark.parametrize("kind", BACKENDS)
def test_version_2_adds_up_genes_that_became_one(recorded, kind):
    folder, block, genes, _ = recorded
    golden = np.load(folder / "tokens_v2_collapse.npz")
    merges = json.loads((folder / "v2like_collapse_map_nonidentity.json").read_text())
    adapter, match, _ = tokenizer(
        folder, "v2like_", [merges.get(gene, gene) for gene in genes], max_length=4096, cls_id=2, eos_id=3
    )
    assert match.has_duplicates
    with backend(kind):
        assert_equal_outside_ties(adapter(rows_of(block, list(range(100))), match), golden, before=1)


def test_a_worked_example():
    # x / median: 4/8, 3/1, 3/1, 2/1, none, 9 of an unknown gene; the tie goes to the lower token id.
    block = block_of(np.array([[4, 3, 3, 2, 0, 9]]))
    adapter = RankTokenizer(
        token_ids=np.array([10, 14, 12, 13, 11]), medians=np.array([8.0, 1, 1, 1, 1]), max_length=6
    )
    assert adapter(block, match_of([0, 1, 2, 3, 4, -1])).ids.tolist() == [12, 14, 13, 10]


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("genes", [3, 100, 3000])
def test_many_ties_are_ordered_by_token(kind, genes):
    rng = np.random.default_rng(genes)
    block = block_of(rng.integers(0, 3, (5, genes)))
    ids = rng.permutation(2_000_000)[:genes].astype(np.int32)  # more tokens than a radix pass tells apart
    adapter = RankTokenizer(token_ids=ids, medians=np.ones(genes), max_length=genes)
    with backend(kind):
        tokens = adapter(block, match_of(np.arange(genes)))
    for row in range(5):
        span = slice(block.indptr[row], block.indptr[row + 1])
        order = np.lexsort((ids[block.indices[span]], -block.data[span]))
        assert (tokens[row].ids == ids[block.indices[span]][order]).all()


@given(counts(), st.integers(0, 99), st.integers(1, 7), st.integers(1, 4), st.integers(3, 30))
def test_block_size_rows_and_workers_change_nothing(rows, seed, size, workers, length):
    match, ids, medians = vocabulary(rows.shape[1], seed)
    adapter = RankTokenizer(token_ids=ids, medians=medians, max_length=length, cls_id=1, eos_id=2)
    block = block_of(rows, start=7)

    def tokenize(part):
        return adapter(part, match, seed=seed)

    whole = tokenize(block)
    assert whole.index.tolist() == list(range(7, 7 + len(rows)))
    assert same(whole, in_blocks(tokenize, block, size))
    assert same(whole, in_threads(tokenize, block, workers))
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    moved = tokenize(rows_of(block, order))
    assert all((moved[new].ids == whole[old].ids).all() for new, old in enumerate(order))


@given(counts(), st.integers(0, 99), st.integers(1, 10_000))
def test_multiplying_a_cell_changes_nothing(rows, seed, factor):
    match, ids, medians = vocabulary(rows.shape[1], seed)
    adapter = RankTokenizer(token_ids=ids, medians=medians, max_length=50, keep_counts=True)
    assert same(
        adapter(block_of(rows.astype(float)), match), adapter(block_of(rows.astype(float) * factor), match)
    )


@given(counts(), st.integers(0, 99))
def test_storage_changes_nothing(rows, seed):
    match, ids, medians = vocabulary(rows.shape[1], seed)
    adapter = RankTokenizer(token_ids=ids, medians=medians, max_length=50, keep_counts=True)
    plain = block_of(rows)
    n, g = rows.shape
    order = np.concatenate([np.random.default_rng([seed, row]).permutation(g) for row in range(n)])
    shuffled = CellBlock(  # every value stored, zeros and minus zeros too, columns in no order
        start=0,
        data=np.where(rows == 0, -0.0, rows)[np.repeat(np.arange(n), g), order].astype(np.float32),
        indices=order.astype(np.int32),
        indptr=np.arange(n + 1, dtype=np.int64) * g,
        n_genes=g,
    )
    for kind in BACKENDS:
        with backend(kind):
            assert same(adapter(plain, match), adapter(shuffled, match))


@pytest.mark.parametrize("kind", BACKENDS)
def test_empty_cells_have_special_tokens_only(kind):
    block = block_of(np.array([[0, 0], [3, 0], [0, 0]], np.float32))
    settings = {"token_ids": np.array([5, 6]), "medians": np.ones(2)}
    with backend(kind):
        plain = RankTokenizer(**settings, max_length=2)(block, match_of([0, 1]))
        marked = RankTokenizer(**settings, max_length=4, cls_id=2, eos_id=3)(block, match_of([0, 1]))
        assert plain.lengths.tolist() == [0, 1, 0]
        assert marked.ids.tolist() == [2, 3, 2, 5, 3, 2, 3]
        assert len(RankTokenizer(**settings, max_length=2)(rows_of(block, []), match_of([0, 1]))) == 0


def test_a_match_of_another_file_is_refused():
    adapter = RankTokenizer(token_ids=np.array([5]), medians=np.ones(1), max_length=4)
    with pytest.raises(InputError, match="made for 3 genes but the cells have 2"):
        adapter(block_of(np.ones((1, 2))), match_of([0, -1, -1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"medians": np.ones(3)}, "2 token ids but 3 medians"),
        ({"medians": np.array([1.0, 0.0])}, "above 0"),
        ({"medians": np.array([1.0, np.nan])}, "above 0"),
        ({"max_length": 2, "cls_id": 1, "eos_id": 2}, "no room"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RankTokenizer(**({"token_ids": np.array([5, 6]), "medians": np.ones(2), "max_length": 4} | settings))
