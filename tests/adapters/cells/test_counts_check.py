import numpy as np
import pytest
from cell_blocks import backend, block_of, match_of
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.adapters.cells import RankTokenizer, check_block, check_counts
from biolm.adapters.cells.counts_watch import fractional
from biolm.errors import InputError
from biolm.io.cells import CellBlock, open_cells


class Table:
    """An open table of cells over dense matrices."""

    def __init__(self, matrix, **others):
        self.path, self.kind, self.matrix = None, "memory", "X"
        self._values, self._others = matrix, others
        self.n_cells, self.n_genes = matrix.shape
        self.blocks_read = []

    def matrices(self):
        return ["X", *self._others]

    def blocks(self, rows=8192, start=0, stop=None):
        stop = self.n_cells if stop is None else stop
        for first in range(start, stop, rows):
            self.blocks_read.append((first, min(first + rows, stop)))
            yield block_of(self._values[first : min(first + rows, stop)], start=first)

    def watch(self, check):
        self.check = check

    def obs_columns(self):
        return []

    def reopen(self, name):
        return Table(self._others[name])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture(scope="module")
def raw():
    rng = np.random.default_rng(0)
    return rng.negative_binomial(0.5, 0.02, (2000, 60)).astype(np.float32) * (rng.random((2000, 60)) < 0.4)


def test_counts_pass_and_are_described(raw):
    report = check_counts(Table(raw))
    assert report.is_counts
    assert report.whole == 1
    assert report.as_dict()["kind"] == "raw counts"


def test_the_look_is_bounded_and_spread(raw):
    table = Table(np.tile(raw, (10, 1)))
    assert check_counts(table).rows == sum(b - a for a, b in table.blocks_read) == 512
    assert table.blocks_read[0][0] == 0
    assert table.blocks_read[-1][1] == 20_000
    small = Table(raw[:40])
    assert check_counts(small).rows == 40


def test_float_noise_of_counts_is_no_offence(raw):
    assert check_counts(Table(raw.astype(float) * (1 + 1e-9))).is_counts


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x: np.log1p(x / x.sum(1, keepdims=True).clip(1) * 1e4), "log-normalised"),
        (lambda x: np.log1p(x / x.sum(1, keepdims=True).clip(1) * 1e4)[:, :30], "log-transformed"),
        (lambda x: x / x.sum(1, keepdims=True).clip(1) * 1e6, "CPM or TPM"),
        (lambda x: x * np.linspace(1, 3, 60) + 0.37 * (x > 0), "FPKM"),
    ],
)
def test_normalised_values_are_refused_by_their_kind(raw, change, kind):
    with pytest.raises(InputError, match=kind) as failure:
        check_counts(Table(change(raw)))
    assert "`allow_normalised=True`" in str(failure.value)
    report = check_counts(Table(change(raw)), allow_normalised=True)
    assert not report.is_counts


def test_the_matrix_that_holds_counts_is_named(raw):
    table = Table(np.log1p(raw), **{"layers/scaled": raw - 1, "layers/counts": raw, "raw/X": raw})
    with pytest.raises(InputError, match="holds counts: choose it with `layer='layers/counts'`"):
        check_counts(table, reopen=table.reopen)
    with pytest.raises(InputError, match="try layer layers/scaled or layers/counts or raw/X"):
        check_counts(table)
    bare = Table(np.log1p(raw), **{"layers/scaled": raw - 1})
    with pytest.raises(InputError, match="no other matrix of the file holds counts"):
        check_counts(bare, reopen=bare.reopen)


@pytest.mark.parametrize("value", [-0.5, np.nan, np.inf])
def test_bad_values_are_refused_even_where_normalised_ones_are_allowed(raw, value):
    rows = np.log1p(raw)
    rows[0, 0] = value
    with pytest.raises(InputError, match=r"negative|infinite") as failure:
        check_counts(Table(rows), allow_normalised=True)
    assert "`allow_normalised=True`" not in str(failure.value)


def test_a_file_is_reopened_to_find_counts(raw, tmp_path):
    ad = pytest.importorskip("anndata")
    from scipy.sparse import csr_matrix

    ad.AnnData(csr_matrix(np.log1p(raw)), layers={"umi": csr_matrix(raw)}).write_h5ad(tmp_path / "x.h5ad")
    with (
        open_cells(tmp_path / "x.h5ad") as cells,
        pytest.raises(InputError, match="layers/umi holds counts"),
    ):
        check_counts(cells)
    with open_cells(tmp_path / "x.h5ad", matrix="layers/umi") as cells:
        assert check_counts(cells).is_counts


def test_fpkm_of_a_real_set_is_refused(data_cells):
    with open_cells(data_cells / "hsmm_80.h5ad") as cells, pytest.raises(InputError, match="FPKM"):
        check_counts(cells)


@pytest.mark.parametrize("kind", ["numba", "numpy"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, -np.inf, -1e-30])
@pytest.mark.parametrize("place", [0, 7, 8, 15, 18])
def test_one_bad_value_is_found_wherever_it_lies(kind, value, place):
    rows = np.ones((5, 19))
    rows[3, place] = value
    with backend(kind):
        with pytest.raises(InputError, match=r"cell 90003 .* holds the value"):
            check_block(block_of(rows, start=90_000))
        tokenizer = RankTokenizer(token_ids=np.arange(19), medians=np.ones(19), max_length=9)
        with pytest.raises(InputError, match="cell 90003"):
            tokenizer(block_of(rows, start=90_000), match_of(np.arange(19)))


def test_sums_too_large_for_a_number_are_refused():
    with pytest.raises(InputError, match="too large"):
        check_block(block_of(np.full((1, 4), 1.7e308)))


def test_totals_tell_empty_cells():
    block = block_of(np.array([[1, 2.5], [0, 0]]))
    assert check_block(block).tolist() == [3.5, 0]
    with_zero = CellBlock(
        start=0,
        data=np.array([0.0, -0.0]),
        indices=np.array([0, 1], np.int32),
        indptr=np.array([0, 2]),
        n_genes=2,
    )
    assert check_block(with_zero).tolist() == [0]


@pytest.mark.parametrize("rows", [50, 700, 8192])
def test_one_normalised_sample_is_refused_with_its_cells_named(shared, rows):
    path = shared / "data" / "awkward" / "cells" / "one_sample_normalised.h5ad"
    with open_cells(path) as cells:
        assert check_counts(cells).is_counts  # the look misses it
        with pytest.raises(InputError, match="holds log-normalised values") as failure:
            list(cells.blocks(rows))
    assert "(counted from 0; sample = 'normalised' in obs)" in str(failure.value)
    assert f"in cells 196 to {199 if rows == 50 else 328} " in str(failure.value)
    assert "`allow_normalised=True`" not in str(failure.value)
    with open_cells(path) as cells:
        check_counts(cells)
        with pytest.raises(InputError, match=r"cells 250 to 251 .*sample = 'normalised'"):
            cells.take(np.array([251, 3, 250]))
        assert len(cells.take(np.array([3, 195, 329]))) == 3
    with open_cells(path) as cells:
        check_counts(cells, allow_normalised=True)
        assert sum(len(block) for block in cells.blocks()) == 2500


@settings(max_examples=25)
@given(st.integers(0, 399), st.integers(1, 60), st.sampled_from([1, 37, 400]), st.booleans())
def test_cells_without_counts_are_found_wherever_they_lie(first, size, rows, memory):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    from scipy.sparse import csr_matrix

    values = np.random.default_rng(first).poisson(2, (400, 9)).astype(np.float32)
    values[:, 0] += 1
    bad = np.arange(first, min(first + size, 400))
    values[bad] = np.log1p(values[bad])
    sample = np.where(np.isin(np.arange(400), bad), "odd", "even")
    obs = pandas.DataFrame({"lane": "one", "sample": sample}, index=[f"c{number}" for number in range(400)])
    adata = anndata.AnnData(values if memory else csr_matrix(values), obs=obs)

    def look():
        with open_cells(adata) as cells:
            check_counts(cells, reopen=lambda name: open_cells(adata, matrix=name))
            list(cells.blocks(rows))

    with pytest.raises(InputError, match="raw counts are wanted") as failure:
        look()
    if len(bad) > 1 and rows == 400:
        assert "sample = 'odd' in obs" in str(failure.value)


def test_whole_numbers_and_what_others_check_pass_the_look():
    values = np.array([1, 3.0000001, 0.5, 1e-9, np.nan, np.inf, -2, 0])
    assert fractional(values).tolist() == [False, False, True, True, False, False, False, False]
    assert not fractional(np.arange(5)).any()
