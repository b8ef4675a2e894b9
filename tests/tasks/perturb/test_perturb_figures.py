"""Means, intervals and false discovery rates; matched random genes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from biolm.scoring.rates import adjusted
from biolm.tasks.perturb.controls import MatchedGenes
from biolm.tasks.perturb.edits import Edit
from biolm.tasks.perturb.figures import bootstrap_interval, means


def test_figures_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.3, 1, (40, 6))
    values[:10, 2] = np.nan
    p_values = np.array([0.01, 0.2, np.nan, 0.03, 1, 0.04])
    rates = adjusted(p_values)
    np.testing.assert_allclose(rates[[0, 1, 3, 4, 5]], false_discovery_control(p_values[[0, 1, 3, 4, 5]]))
    assert np.isnan(rates[2])
    np.testing.assert_allclose(means(values)[2], values[10:, 2].mean())


def test_intervals_cover_the_truth_about_nineteen_times_in_twenty() -> None:
    values = np.random.default_rng(0).normal(1, 2, (60, 400))
    low, high = bootstrap_interval(values, seed=1)
    assert 0.9 < ((low <= 1) & (high >= 1)).mean() < 0.98
    values[:, 0] = np.nan
    values[:59, 1] = np.nan
    low, high = bootstrap_interval(values, seed=1)
    assert np.isnan(low[0])
    assert low[1] == high[1] == values[59, 1]


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 4), st.booleans())
def test_controls_are_like_the_gene_and_never_the_gene(cell: int, size: int, delete: bool) -> None:
    rng = np.random.default_rng(cell)
    expressed = rng.permutation(200)[:120]
    levels = rng.random(200)
    matched = MatchedGenes(np.arange(200), levels, seed=5)
    genes = tuple(int(gene) for gene in rng.choice(expressed if delete else 200, size, replace=False))
    edit = Edit(deleted=genes) if delete else Edit(raised=genes)
    drawn = matched.draw(edit, expressed, cell, 7, 3, lambda one: True)
    assert len(drawn) == 3
    place = {int(gene): number for number, gene in enumerate(expressed)}
    order = {int(gene): number for number, gene in enumerate(np.argsort(-levels, kind="stable"))}
    for one in drawn:
        assert not set(one.genes) & set(genes)
        assert len(set(one.genes)) == size
        assert bool(one.deleted) == delete
        for gene, control in zip(genes, one.genes, strict=True):
            assert (control in place) == (gene in place)
            if gene in place:
                assert abs(place[gene] - place[control]) <= 10
            else:
                assert abs(order[gene] - order[control]) <= 50
    assert matched.draw(edit, expressed, cell, 7, 3, lambda one: True) == drawn


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(0, 3))
def test_controls_that_change_nothing_are_not_drawn(cell: int, size: int, modulus: int) -> None:
    rng = np.random.default_rng(cell)
    expressed = rng.permutation(200)[:30]
    matched = MatchedGenes(np.arange(200), rng.random(200), seed=5)
    edit = Edit(raised=tuple(int(gene) for gene in rng.choice(expressed, size, replace=False)))

    def changes(one: Edit) -> bool:
        return modulus > 0 and any(gene % modulus == 0 for gene in one.genes)

    drawn = matched.draw(edit, expressed, cell, 7, 3, changes)
    assert all(changes(one) and len(one.genes) == size for one in drawn)
    assert len(drawn) == (0 if modulus == 0 else 3)
