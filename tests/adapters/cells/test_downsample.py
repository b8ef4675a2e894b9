"""Down-sampling: the distribution by scipy, moments, and independence of blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from biolm.adapters.cells.downsample import Downsampling, binomial
from biolm.errors import ConfigError, InputError
from biolm.io.cells.block import CellBlock


def block_of(rows: int, genes: int, mean: float, seed: int = 0, start: int = 0) -> CellBlock:
    dense = np.random.default_rng(seed).poisson(mean, (rows, genes))
    places = [np.flatnonzero(row) for row in dense]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in places])])
    data = np.concatenate([row[found] for row, found in zip(dense, places, strict=True)]).astype(np.float32)
    return CellBlock(start, data, np.concatenate(places).astype(np.int32), indptr, genes)


@given(
    counts=st.lists(st.integers(0, 3000), min_size=1, max_size=30),
    rate=st.floats(0.001, 0.999),
    seed=st.integers(0, 100),
)
def test_binomial_inverts_the_distribution(counts: list[int], rate: float, seed: int) -> None:
    n = np.array(counts, np.float64)
    uniform = np.random.default_rng(seed).random(len(n))
    drawn = binomial(n, np.full(len(n), rate), uniform)
    assert ((drawn >= 0) & (drawn <= n)).all()
    # Summation and scipy's beta function round differently, so the borders get a little room.
    assert (stats.binom.cdf(drawn, n, rate) >= uniform - 1e-9).all()
    assert ((stats.binom.cdf(drawn - 1, n, rate) <= uniform + 1e-9) | (drawn == 0)).all()


@pytest.mark.parametrize(("count", "rate"), [(1, 0.3), (7, 0.8), (64, 0.5), (65, 0.5), (500, 0.05)])
def test_binomial_moments(count: int, rate: float) -> None:
    uniform = (np.arange(20_000) + 0.5) / 20_000
    drawn = binomial(np.full(20_000, float(count)), np.full(20_000, rate), uniform)
    assert drawn.mean() == pytest.approx(count * rate, rel=1e-3)
    assert drawn.var() == pytest.approx(count * rate * (1 - rate), rel=0.01)


def test_half_of_the_cells_keep_a_beta_share() -> None:
    block = block_of(4000, 60, 20.0)
    fewer = Downsampling().apply(block, seed=3)
    alone = fewer.rates == 1
    assert alone.mean() == pytest.approx(0.5, abs=0.03)
    rates = fewer.rates[~alone]
    assert stats.kstest(rates, stats.beta(2, 2).cdf).pvalue > 0.001
    assert np.array_equal(fewer.after[alone], fewer.before[alone])
    share = fewer.after[~alone] / fewer.before[~alone]
    spread = np.sqrt(rates * (1 - rates) / fewer.before[~alone])
    standard = (share - rates) / spread
    assert standard.mean() == pytest.approx(0, abs=0.08)
    assert standard.std() == pytest.approx(1, abs=0.05)
    totals = np.add.reduceat(fewer.block.data, block.indptr[:-1])
    assert np.array_equal(totals, fewer.after)
    assert fewer.block.data.dtype == block.data.dtype


@given(cut=st.integers(0, 20), seed=st.integers(0, 2**60), epoch=st.integers(0, 5))
def test_a_cell_depends_on_itself_alone(cut: int, seed: int, epoch: int) -> None:
    block = block_of(20, 15, 2.0, start=100)
    whole = Downsampling().apply(block, seed=seed, epoch=epoch)
    at = block.indptr[cut]
    tail = CellBlock(100 + cut, block.data[at:], block.indices[at:], block.indptr[cut:] - at, 15)
    again = Downsampling().apply(tail, seed=seed, epoch=epoch)
    assert np.array_equal(again.block.data, whole.block.data[at:])
    assert np.array_equal(again.rates, whole.rates[cut:])
    numbered = Downsampling().apply(
        CellBlock(0, tail.data, tail.indices, tail.indptr, 15),
        seed=seed,
        epoch=epoch,
        keys=np.arange(100 + cut, 120),
    )
    assert np.array_equal(numbered.block.data, again.block.data)


def test_seeds_epochs_and_order_of_genes() -> None:
    block = block_of(50, 40, 5.0)
    base = Downsampling(share=1.0).apply(block, seed=1)
    for other in (
        Downsampling(share=1.0).apply(block, seed=2),
        Downsampling(share=1.0).apply(block, seed=1, epoch=1),
    ):
        assert abs(np.corrcoef(base.rates, other.rates)[0, 1]) < 0.5
    back = np.concatenate(
        [np.arange(a, b)[::-1] for a, b in zip(block.indptr[:-1], block.indptr[1:], strict=True)]
    )
    turned = CellBlock(0, block.data[back], block.indices[back], block.indptr, 40)
    assert np.array_equal(Downsampling(share=1.0).apply(turned, seed=1).block.data, base.block.data[back])


def test_nothing_is_thinned_and_empty_cells_pass() -> None:
    block = block_of(5, 6, 0.05)
    assert (np.diff(block.indptr) == 0).any()
    fewer = Downsampling(share=0.0).apply(block, seed=0)
    assert np.array_equal(fewer.block.data, block.data)
    assert np.array_equal(fewer.after, fewer.before)


def test_what_is_refused() -> None:
    block = block_of(2, 5, 2.0)
    for wrong in (block.data + 0.5, -block.data):
        with pytest.raises(InputError, match="needs raw counts"):
            Downsampling().apply(CellBlock(0, wrong, block.indices, block.indptr, 5), seed=0)
    with pytest.raises(ConfigError, match="share"):
        Downsampling(share=2)
    with pytest.raises(ConfigError, match="above 0"):
        Downsampling(alpha=0)
