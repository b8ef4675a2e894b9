"""Compiled kernels and their twins in numpy give the same bytes, whatever they are fed."""

import subprocess
import sys

import numpy as np
import pytest
from cell_blocks import backend, block_of, match_of, same
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biolm.adapters.cells import BinTokenizer, ContinuousTokenizer, RankTokenizer, check_block
from biolm.adapters.cells.rows import prepare
from biolm.io.cells.block import CellBlock


def tokenizers(genes, medians):
    ids = np.random.default_rng(genes).permutation(genes * 3)[:genes].astype(np.int32)
    return [
        RankTokenizer(token_ids=ids, medians=medians, max_length=9, cls_id=1, keep_counts=True),
        BinTokenizer(token_ids=ids, max_length=7, cls_id=1, n_bins=11),
        BinTokenizer(token_ids=ids, max_length=None, draw=0.3),
        ContinuousTokenizer(token_ids=ids, max_length=7),
        ContinuousTokenizer(token_ids=ids, max_length=7, keep="sample", target_sum=None),
    ]


def assert_twins_agree(block, match, medians, seed=0):
    for tokenizer in tokenizers(int(match.target.max(initial=0)) + 1, medians):
        with backend("numpy"):
            expected = tokenizer(block, match, seed=seed)
        with backend("numba"):
            assert same(tokenizer(block, match, seed=seed), expected)


VALUES = st.one_of(st.just(0.0), st.integers(1, 5000).map(float), st.floats(2.0**-149, 2.0**99, width=32))
ROWS = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 30)), elements=VALUES)


@given(ROWS, st.integers(-(2**70), 2**70), st.booleans())
def test_any_values(rows, seed, shared_genes):
    genes = rows.shape[1]
    rng = np.random.default_rng(genes)
    target = rng.integers(-1, max(genes // 2, 1), genes) if shared_genes else rng.permutation(genes)
    medians = rng.choice([1e-300 * 1.1, 0.5, 1.0, 3.0, 1e300], int(target.max(initial=0)) + 1)
    assert_twins_agree(block_of(rows), match_of(target), medians, seed)
    assert_twins_agree(block_of(rows.astype(np.float64) ** 3), match_of(target), medians, seed)


@given(ROWS)
@settings(max_examples=30)
def test_sums_and_merged_columns(rows):
    genes = rows.shape[1]
    match = match_of(np.arange(genes) % max(genes // 2, 1))
    found = []
    for kind in ("numba", "numpy"):
        with backend(kind):
            found.append([part.tobytes() for part in prepare(block_of(rows), match)])
    assert found[0] == found[1]
    merged = prepare(block_of(rows), match)
    dense = np.zeros((len(rows), genes))
    np.add.at(dense, (slice(None), np.arange(genes) % max(genes // 2, 1)), rows.astype(float))
    for row in range(len(rows)):
        span = slice(merged.indptr[row], merged.indptr[row + 1])
        np.testing.assert_allclose(merged.data[span].sum(), dense[row].sum(), rtol=1e-12)
        assert len(merged.data[span]) == (dense[row] > 0).sum()


@pytest.mark.parametrize(
    "kind", [np.bool_, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64, np.float16, ">f4", ">i8"]
)
def test_any_number_type(kind):
    rows = np.random.default_rng(0).integers(0, 2 if kind == np.bool_ else 100, (9, 300))
    match, medians = match_of(np.arange(300)), np.linspace(0.5, 4, 300)
    assert_twins_agree(block_of(rows.astype(kind)), match, medians)
    tokenizer = tokenizers(300, medians)[0]
    assert same(
        tokenizer(block_of(rows.astype(kind)), match), tokenizer(block_of(rows.astype(np.float64)), match)
    )


def test_long_rows():
    rng = np.random.default_rng(5)
    rows = rng.poisson(np.exp(rng.normal(0, 2, 20_000)), (3, 20_000)).astype(np.float32)
    target = rng.permutation(20_000)
    assert_twins_agree(block_of(rows), match_of(target), rng.lognormal(0, 1, 20_000))


def test_read_only_arrays():
    block = block_of(np.eye(4, dtype=np.float32))
    for column in (block.data, block.indices, block.indptr):
        column.flags.writeable = False
    assert check_block(block).tolist() == [1, 1, 1, 1]
    assert_twins_agree(block, match_of([0, 1, 2, 3]), np.ones(4))


def test_a_block_of_empty_rows():
    block = CellBlock(
        start=0,
        data=np.empty(0, np.float32),
        indices=np.empty(0, np.int32),
        indptr=np.zeros(4, np.int64),
        n_genes=2,
    )
    assert_twins_agree(block, match_of([0, 1]), np.ones(2))


def test_kernels_run_where_no_folder_can_be_written(monkeypatch):
    import numba

    from biolm.adapters.cells.kernels import compile as module

    def refuse(function, *, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(function, **options)

    monkeypatch.setattr(module, "numba", type("numba", (), {"njit": staticmethod(refuse)}))
    assert module.compiled(_double)(2) == 4


def _double(x):
    return 2 * x


def test_importing_the_adapters_loads_nothing_heavy():
    heavy = "{'numba', 'torch', 'anndata', 'scanpy', 'pandas', 'pyarrow', 'scipy'}"
    code = f"import sys, biolm.adapters.cells, biolm.io.tokens; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
