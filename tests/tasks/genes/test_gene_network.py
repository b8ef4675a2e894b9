"""Networks find planted pairs and little in noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from token_model import make_cells, make_model
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.errors import ConfigError, InputError
from biolm.scoring.rates import adjusted
from biolm.tasks.genes.attention import attention_network
from biolm.tasks.genes.network import network
from biolm.tasks.genes.vectors import GeneVectors, static


def _vectors(planted: int = 0) -> GeneVectors:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((200, 24)).astype(np.float32) + 3
    vectors[1 : 2 * planted : 2] = vectors[: 2 * planted : 2] + 0.2 * rng.standard_normal((planted, 24))
    names = np.array([f"g{i}" for i in range(200)])
    return GeneVectors(names, names, vectors.astype(np.float32), {})


def test_planted_pairs_are_found_and_noise_is_not() -> None:
    found = network(_vectors(15), k=3, max_fdr=1)
    passed = found.columns["fdr"] < 0.05
    pairs = set(zip(found.columns["gene"][passed], found.columns["neighbour"][passed], strict=True))
    planted = {(f"g{2 * i}", f"g{2 * i + 1}") for i in range(15)}
    assert planted <= pairs
    assert len(pairs - planted) <= 2
    assert (np.diff(found.columns["cosine"]) <= 0).all()
    assert len(network(_vectors(), k=3)) == 0


def test_null_p_values_are_uniform() -> None:
    # With all pairs as edges, the share below a level is the level.
    p_values = network(_vectors(), k=199, max_fdr=1).columns["p_value"]
    assert len(p_values) == 200 * 199 / 2
    for level in (0.05, 0.5):
        assert (p_values <= level).mean() == pytest.approx(level, rel=0.1)


def test_groups_are_joined_each_on_their_own() -> None:
    both = _vectors()
    groups = np.where(np.arange(200) < 100, "a", "b")
    found = network(replace(both, groups=groups), k=2, max_fdr=1)
    number = {name: i for i, name in enumerate(both.names.tolist())}
    for gene, neighbour, group in zip(
        *(found.columns[name] for name in ("gene", "neighbour", "group")), strict=True
    ):
        assert groups[number[gene]] == groups[number[neighbour]] == group


def test_attention_finds_a_gene_that_all_look_at() -> None:
    model, adata = make_model(), make_cells(60)
    weights = model.core.state_dict()
    even = attention_network(adata, model=model, device="cpu", k=5, cells=60, max_fdr=1)
    with torch.no_grad():
        # One gene answers every query: its token is large along one axis, which every key reads.
        weights["embeddings.token.weight"][2] += 2.0
    model.core.load_state_dict(weights)
    found = attention_network(adata, model=model, device="cpu", k=1, cells=60, max_fdr=1)
    assert (found.columns["fdr"] <= 1).all()
    assert found.columns["cells"].min() >= 10
    assert "gene39" not in found.columns["gene"]
    assert even.columns["attention"].max() > 1
    again = attention_network(adata, model=model, device="cpu", k=1, cells=60, max_fdr=1)
    np.testing.assert_array_equal(found.columns["p_value"], again.columns["p_value"])


def test_attention_that_knows_no_names_has_uniform_p_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def cells(model, tokens, place, layer):
        rng = np.random.default_rng(4)
        for _ in range(40):
            genes = rng.choice(30, 20, replace=False)
            yield genes, rng.exponential(size=(20, 20))

    with pytest.raises(InputError, match="no pair of genes meets"):
        attention_network(make_cells(9), model=make_model(), device="cpu")
    monkeypatch.setattr("biolm.tasks.genes.attention._cells", cells)
    options = {"device": "cpu", "top": 30, "minimum_cells": 5}
    found = attention_network(make_cells(60), model=make_model(), k=29, max_fdr=1, **options)
    assert len(found) == 30 * 29
    for level in (0.05, 0.5):
        assert (found.columns["p_value"] <= level).mean() == pytest.approx(level, abs=0.03)
    assert (found.columns["fdr"] < 0.05).sum() == 0
    some = attention_network(make_cells(60), model=make_model(), k=2, **options)
    assert (len(some), some.provenance["edges_tested"]) == (0, 60)


def _genes(vectors: np.ndarray) -> GeneVectors:
    names = np.array([f"g{i}" for i in range(len(vectors))])
    return GeneVectors(names, names, vectors.astype(np.float32), {})


def _spectra() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    real = static("genetext", "data/cells/pbmc68k_reduced_counts_700.h5ad").vectors.astype(float)
    return {
        "genetext": np.linalg.cholesky(np.cov(real.T) + 1e-9 * np.eye(real.shape[1])).T,
        "one axis above all": np.diag([20.0, 5.0, *np.ones(46)]),
        "wider than genes": np.diag(np.linspace(2, 0.1, 500)) @ np.linalg.qr(rng.normal(size=(500, 500)))[0],
    }


@pytest.mark.parametrize("spectrum", ["genetext", "one axis above all", "wider than genes"])
def test_independent_genes_with_the_covariance_of_a_model(spectrum: str) -> None:
    root = _spectra()[spectrum]
    fractions, edges = [], []
    for seed in range(4):
        vectors = np.random.default_rng(seed).standard_normal((300, len(root))) @ root + 0.1
        found = network(_genes(vectors), k=299, max_fdr=1, permutations=5, seed=seed)
        fractions.append([(found.columns["p_value"] <= level).mean() for level in (0.01, 0.05, 0.5)])
        edges.append(int((found.columns["fdr"] <= 0.05).sum()))
    rates = np.mean(fractions, axis=0)
    # Pairs of one draw share its covariance, so its rate varies more than that of so many pairs.
    np.testing.assert_allclose(rates, [0.01, 0.05, 0.5], rtol=0.2)
    assert np.mean(edges) <= 3


def test_rates_are_over_all_pairs_whatever_edges_are_kept() -> None:
    vectors = _vectors(15)
    every = network(vectors, k=199, max_fdr=1)
    few = network(vectors, k=2, max_fdr=1)
    pair = {
        key: rate
        for *key, rate in zip(*(every.columns[name] for name in ("gene", "neighbour", "fdr")), strict=True)
        for key in [tuple(key)]
    }
    for one, other, rate in zip(*(few.columns[name] for name in ("gene", "neighbour", "fdr")), strict=True):
        assert rate == pytest.approx(pair[one, other], rel=1e-6)
    # Benjamini and Hochberg by the book, on the p values of all pairs.
    book = np.maximum(adjusted(every.columns["p_value"]), every.columns["p_value"])
    np.testing.assert_allclose(every.columns["fdr"], book, rtol=1e-6)
    kept = network(vectors, k=2)
    assert (kept.columns["fdr"] <= 0.05).all()
    assert len(kept) == (few.columns["fdr"] <= 0.05).sum() > 0
    assert kept.provenance["edges_tested"] == len(few)


def test_what_is_refused(tmp_path: Path, shipped_cells: Path) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        network(_vectors(), k=0)
    with pytest.raises(ConfigError, match="above 0 and up to 1, not 0"):
        network(_vectors(), max_fdr=0)
    broken = _vectors()
    broken.vectors[3, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        network(broken)
    with pytest.raises(InputError, match="at least three genes"):
        network(replace(broken, vectors=np.zeros((200, 24), np.float32)))
    with pytest.raises(ConfigError, match="layers 0 to 1"):
        attention_network(make_cells(), model=make_model(), layer_number=2, device="cpu")
    cells = str(shipped_cells / "pbmc68k_reduced_counts_700.h5ad")
    for extra, status, says in (
        (["--from", "dreams"], 2, "must be one of static"),
        (["--from", "attention"], 2, "reads no tokens"),
    ):
        done = CliRunner().invoke(app, ["genes", "network", cells, "-o", str(tmp_path / "e.tsv"), *extra])
        assert (done.exit_code, list(tmp_path.iterdir())) == (status, [])
        assert says in done.stderr
    done = CliRunner().invoke(app, ["genes", "network", cells, "-o", str(tmp_path / "e.tsv"), "-k", "2"])
    assert done.exit_code == 0, done.output
    assert (
        (tmp_path / "e.tsv")
        .read_text()
        .startswith("gene\tneighbour\tid\tneighbour_id\tcosine\tp_value\tfdr\n")
    )
