"""Terms in sets of genes: exact within strata, and quiet where nothing is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array
from scipy.stats import fisher_exact

from biolm.scoring.enrichment import SMALLEST, stratified_enrichment
from biolm.scoring.rates import adjusted


@given(seed=st.integers(0, 10_000), size=st.integers(0, 30))
def test_one_stratum_is_fishers_exact_test(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    terms = csr_matrix((rng.random((5, 40)) < rng.random((5, 1))).astype(np.int64))
    chosen = np.zeros(40, bool)
    chosen[rng.permutation(40)[:size]] = True
    count, expected, p = stratified_enrichment(chosen, terms, np.zeros(40, np.int64))
    for row, members in enumerate(terms.toarray().astype(bool)):
        table = [
            [(members & chosen).sum(), (members & ~chosen).sum()],
            [(~members & chosen).sum(), (~members & ~chosen).sum()],
        ]
        assert count[row] == table[0][0]
        assert expected[row] == pytest.approx(members.sum() * size / 40)
        assert p[row] == pytest.approx(fisher_exact(table, alternative="greater").pvalue, abs=1e-9)


def test_strata_are_drawn_from_one_by_one() -> None:
    rng = np.random.default_rng(3)
    strata = np.repeat([0, 1, 2], [10, 20, 30])
    terms = csr_matrix((rng.random((4, 60)) < np.array([0.6, 0.3, 0.1])[strata]).astype(np.int64))
    sizes = (6, 3, 2)
    members = [np.flatnonzero(strata == s) for s in range(3)]
    chosen = np.zeros(60, bool)
    for group, size in zip(members, sizes, strict=True):
        chosen[group[:size]] = True
    count, expected, p = stratified_enrichment(chosen, terms, strata)
    dense, draws = terms.toarray(), 20_000
    drawn = np.concatenate(
        [
            rng.permuted(np.tile(group, (draws, 1)), axis=1)[:, :size]
            for group, size in zip(members, sizes, strict=True)
        ],
        axis=1,
    )
    hits = dense[:, drawn].sum(2)
    np.testing.assert_allclose(expected, hits.mean(1), atol=0.05)
    np.testing.assert_allclose(p, (hits >= count[:, None]).mean(1), atol=0.02)
    # Highly expressed genes have more annotations: without strata the same set looks enriched.
    assert stratified_enrichment(chosen, terms, np.zeros(60, np.int64))[2].mean() < p.mean()


def test_sets_drawn_at_random_are_rarely_called() -> None:
    rng = np.random.default_rng(0)
    terms = csr_matrix(random_array((300, 1000), density=0.02, rng=rng) > 0).astype(np.int64)
    strata = np.arange(1000) * 10 // 1000
    values = []
    for _ in range(100):
        chosen = np.zeros(1000, bool)
        chosen[rng.permutation(1000)[:50]] = True
        values.append(stratified_enrichment(chosen, terms, strata)[2])
    p = np.array(values)
    # Discrete tests reject at most as often as they say.
    assert (p <= 0.05).mean() < 0.055
    assert (p <= 0.001).mean() < 0.0015
    assert (adjusted(p.ravel()) <= 0.05).sum() <= 2


def test_nothing_chosen_and_everything_chosen() -> None:
    terms = csr_matrix(np.eye(3, 8, dtype=np.int64))
    for chosen in (np.zeros(8, bool), np.ones(8, bool)):
        count, expected, p = stratified_enrichment(chosen, terms, np.zeros(8, np.int64))
        np.testing.assert_allclose(count, expected)
        np.testing.assert_allclose(p, 1)
    many = csr_matrix(np.ones((1, 400), np.int64) * (np.arange(400) < 60))
    assert stratified_enrichment(np.arange(400) < 60, many, np.zeros(400, np.int64))[2][0] == SMALLEST
