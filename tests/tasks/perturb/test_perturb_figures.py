"""Intervals, tests and false discovery rates against scipy; matched random genes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, wilcoxon

from biolm.tasks.perturb.controls import MatchedGenes
from biolm.tasks.perturb.edits import Edit
from biolm.tasks.perturb.figures import adjusted, bootstrap_interval, means, paired_p


def test_figures_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    values, controls = rng.normal(0.3, 1, (40, 6)), rng.normal(0, 1, (40, 6))
    values[:10, 2] = np.nan
    values[:, 5] = controls[:, 5]
    p_values = paired_p(values, controls)
    np.testing.assert_allclose(p_values[0], wilcoxon(values[:, 0], controls[:, 0]).pvalue)
    np.testing.assert_allclose(p_values[2], wilcoxon(values[10:, 2], controls[10:, 2]).pvalue)
    assert p_values[5] == 1
    np.testing.assert_allclose(adjusted(p_values), false_discovery_control(p_values))
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
    drawn = matched.draw(edit, expressed, cell, 7, 3)
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
    assert matched.draw(edit, expressed, cell, 7, 3) == drawn
