"""P values and false discovery rates of a perturbation are nominal where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, kstest
from tiny_cells import GENES, make_cells, make_model

import biolm
from biolm.models.systems.genetext import load
from biolm.scoring.rates import adjusted
from biolm.tasks.perturb.significance import goal_p, matched_p, paired_p


def _ranked(gene: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Fraction of the random genes ``(n, e, r)`` below the gene ``(n, e)``."""
    return (random < gene[..., None]).mean(2)


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape)


@pytest.mark.parametrize("controls", [1, 2, 5, 10])
@pytest.mark.parametrize("cells", [12, 150])
def test_skewed_genes_exchangeable_with_their_controls(cells: int, controls: int) -> None:
    rng = np.random.default_rng(controls)
    gene, random = rng.exponential(size=(cells, 2000)), rng.exponential(size=(cells, 2000, controls))
    p_values = paired_p(_ranked(gene, random), _numbers(random.shape))
    passed = int((p_values < 0.05).sum())
    assert passed <= binom.ppf(0.999, 2000, 0.05)
    # Few cells, and one random gene a cell, leave few possible p values: the rate may stay below the level.
    assert cells < 40 or controls == 1 or passed >= binom.ppf(0.001, 2000, 0.05)
    assert (paired_p(_ranked(gene + 1, random), _numbers(random.shape)) < 0.05).mean() > 0.5


def test_few_and_many_cells_are_tested_alike() -> None:
    below = np.random.default_rng(0).integers(0, 4, (40, 50)) / 3
    exact = paired_p(below, _numbers((40, 50, 3)))
    doubled = paired_p(np.tile(below, (2, 1)), _numbers((80, 50, 3)))
    assert (np.argsort(exact, kind="stable") == np.argsort(doubled, kind="stable"))[:5].all()
    assert paired_p(np.full((9, 1), 0.5), _numbers((9, 1, 1))).tolist() == [1.0]
    assert np.isnan(paired_p(np.full((9, 1), np.nan), np.full((9, 1, 1), -1))).all()


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("controls", [1, 5])
def test_genes_with_one_effect_in_every_cell(noise: float, controls: int) -> None:
    """A static model: many cells, and each gene has the same effect in all of them."""
    rng = np.random.default_rng(7)
    cells, genes, near = 100, 1500, 60
    effects = rng.exponential(size=(genes, near + 1))
    which = rng.integers(1, near + 1, (cells, genes, controls))
    random = np.take_along_axis(effects[None], which, axis=2)
    random = random + noise * rng.standard_normal(random.shape)
    gene = effects[:, 0] + noise * rng.standard_normal((cells, genes))
    below = _ranked(gene, random)
    p_values = matched_p(below, which)
    for level in (0.05, 0.2, 0.5):
        assert (p_values <= level).sum() <= binom.ppf(0.999, genes, level)
        assert noise or (p_values <= level).mean() >= 0.6 * level
    assert (adjusted(p_values) < 0.05).sum() == 0
    # What the paired test says of the same numbers: nearly every gene differs from the mean of others.
    assert (adjusted(paired_p(below, which)) < 0.05).mean() > 0.5


def _default(cells: int):
    import anndata

    data = anndata.read_h5ad("data/cells/pbmc_cite_10k.h5ad")[:cells].copy()
    model = load()
    genes = data.var_names[np.argsort(-np.asarray(data.X.sum(0)).ravel(), kind="stable")[:150]]
    known = model.vocabulary.match({"index": np.asarray(genes, str)}, minimum=0).target >= 0
    return data, model, genes[known].tolist()


@pytest.mark.parametrize("kind", ["default", "rank"])
def test_goals_with_random_labels(kind: str) -> None:
    data, model, genes = _default(160) if kind == "default" else (make_cells(160), make_model(), list(GENES))
    rng = np.random.default_rng(2)
    data.obs["random"] = np.where(np.arange(data.n_obs) < 40, "start", "goal")
    options = {"goal_key": "random", "start": "start", "goal": "goal", "device": "cpu"}
    found = biolm.perturb(data, model=model, genes=genes, how="overexpress", **options)
    vectors = np.asarray(biolm.embed(data, model=model, copy=True).obsm[f"X_{model.name}"], float)
    fractions, any_passed, draws = [], 0, 100
    for draw in range(draws):
        # The perturbed cells stay the same; the others are goal or not by chance.
        order = 40 + rng.permutation(data.n_obs - 40)
        p_values = goal_p(found.shifts.moved, vectors[order], 60, seed=draw, permutations=499)
        fractions.append((p_values <= 0.05).mean())
        any_passed += bool((adjusted(p_values) < 0.05).any())
    spread = np.std(fractions, ddof=1) / np.sqrt(draws)
    assert abs(np.mean(fractions) - 0.05) < 3.5 * spread + 0.005
    assert binomtest(any_passed, draws, 0.05, alternative="greater").pvalue > 0.001


def test_goals_with_random_labels_where_every_cell_is_perturbed() -> None:
    """The perturbed cells are also the ones that stand beside the goal."""
    passed = []
    for draw in range(12):
        data = make_cells(60, seed=draw)
        options = {"goal_key": "state", "goal": "well", "start": "ill", "device": "cpu", "seed": draw}
        found = biolm.perturb(data, model=make_model(), genes="all", minimum_cells=3, **options)
        passed.append((found.columns["fdr"] < 0.05).any())
    assert binomtest(int(np.sum(passed)), 12, 0.05, alternative="greater").pvalue > 0.001


def test_goal_p_finds_a_gene_that_moves_toward_the_goal_and_is_uniform_otherwise() -> None:
    rng = np.random.default_rng(5)
    toward = np.zeros(20)
    toward[0] = 1
    cells = rng.standard_normal((200, 20)) + 3
    cells[:100] += toward
    moved = rng.standard_normal((300, 20)) * 1e-3
    moved[:, 0] = 0
    moved[0] = 1e-3 * toward
    p_values = goal_p(moved, cells, 100, seed=1)
    assert p_values[0] == 1e-4
    assert adjusted(p_values)[0] < 0.05
    one_gene = [
        goal_p(moved[5:6], rng.standard_normal((60, 20)), 30, seed=s, permutations=199)[0] for s in range(300)
    ]
    assert kstest(one_gene, "uniform").pvalue > 1e-3
