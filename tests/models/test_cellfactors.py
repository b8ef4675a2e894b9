"""The factor model: the posterior it promises, one space for any panel, and what it refuses."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import biolm
from biolm.adapters.cells.factors import human_match
from biolm.adapters.cells.kernels import mean_numba, mean_plain
from biolm.errors import CheckpointError, GeneMatchError, InputError
from biolm.io.cells.block import CellBlock
from biolm.models import registry
from biolm.models.model import EmbedOptions
from biolm.models.systems import genetext
from biolm.models.systems.cellfactors import FILE, CellFactors, load, recognises, save
from biolm.vocab.gene_table import gene_table
from biolm.vocab.match import GeneMatch


@pytest.fixture(scope="module")
def model() -> CellFactors:
    return load()


def as_block(counts: np.ndarray, start: int = 0) -> CellBlock:
    rows, columns = np.nonzero(counts)
    indptr = np.searchsorted(rows, np.arange(len(counts) + 1))
    return CellBlock(start, counts[rows, columns], columns.astype(np.int32), indptr, counts.shape[1])


def some_genes(model: CellFactors, count: int = 200) -> list[str]:
    return [model.vocabulary.genes[row] for row in model.rows[:: len(model.rows) // count][:count]]


def match_of(model: CellFactors, names: list[str]) -> GeneMatch:
    return model.vocabulary.match({"index": np.array(names)}, minimum=0)


def counts_of(cells: int, genes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(0.7, (cells, genes)).astype(np.float32)


def test_factors_are_the_posterior_mean_of_what_the_panel_measures(model: CellFactors) -> None:
    names = [*some_genes(model), "ENSG99999999999"]
    counts = counts_of(6, len(names))
    rows = np.array([model.vocabulary.genes.index(name) for name in names[:-1]])
    known = counts[:, :-1].astype(np.float64)
    share = model.fractions[rows].astype(np.float64).sum()
    values = np.log1p(1e4 * share * known / known.sum(1, keepdims=True))
    place = np.searchsorted(model.rows, rows)
    loadings = model.loadings[place].astype(np.float64)
    # The other way round: the covariance of y is W Wᵀ + Ψ.
    covariance = loadings @ loadings.T + np.diag(model.noise[place].astype(np.float64))
    expected = (values - model.means[place]) @ np.linalg.solve(covariance, loadings)
    got = model.factors(as_block(counts), match_of(model, names))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=2e-4)


def test_a_vector_is_scaled_factors_beside_text(model: CellFactors) -> None:
    names = some_genes(model)
    block, match = as_block(counts_of(4, len(names))), match_of(model, names)
    got = model.embed(block, match, EmbedOptions())
    assert got.dtype == np.float32
    assert got.shape == (4, model.width)
    scaled = model.factors(block, match) * (model.signal / model.signal.max()) ** 0.25 / model.scales[0]
    np.testing.assert_allclose(got[:, :64], scaled, rtol=1e-4, atol=1e-6)
    text = model.text.embed(block, match, EmbedOptions())
    np.testing.assert_allclose(got[:, 64:], 0.5 * text / model.scales[1], rtol=1e-4, atol=1e-6)


@given(cut=st.integers(0, 30), seed=st.integers(0, 3))
def test_the_cells_beside_it_do_not_matter(model: CellFactors, cut: int, seed: int) -> None:
    names = some_genes(model)
    counts, match = counts_of(30, len(names), seed), match_of(model, names)
    whole = model.embed(as_block(counts), match, EmbedOptions())
    parts = [as_block(counts[:cut]), as_block(counts[cut:], cut)]
    found = np.concatenate([model.embed(part, match, EmbedOptions()) for part in parts])
    np.testing.assert_array_equal(found, whole)


@given(seed=st.integers(0, 5), width=st.sampled_from([1, 5, 64]))
def test_both_kernels_give_the_same_bytes(model: CellFactors, seed: int, width: int) -> None:
    counts = counts_of(40, 200, seed)
    counts[3] = 0
    counts[4, 1:] = 0  # counts in a gene without loadings alone
    block = as_block(counts)
    values = np.log1p(block.data) * np.where(np.arange(len(block.data)) % 7 == 0, 0, 1).astype(np.float32)
    target = np.arange(-1, 199, dtype=np.int32)
    vectors = np.random.default_rng(seed).normal(size=(199, width)).astype(np.float32)
    vectors[:2] = -0.0
    sums = []
    for module in (mean_numba, mean_plain):
        out = np.zeros((40, width), np.float32)
        module.sum_rows(values, block.indices.view(np.uint32), block.indptr, target, vectors, out)
        sums.append(out)
    assert sums[0].tobytes() == sums[1].tobytes()
    assert not sums[0][3:5].any()
    expected = np.zeros((40, 200))
    expected[np.repeat(np.arange(40), np.diff(block.indptr)), block.indices] = values
    np.testing.assert_allclose(sums[0], expected[:, 1:] @ vectors, rtol=1e-4, atol=1e-4)


@given(seed=st.integers(0, 20))
def test_the_order_of_genes_and_unknown_genes_do_not_matter(model: CellFactors, seed: int) -> None:
    names = [*some_genes(model), "nobody knows me"]
    counts = counts_of(5, len(names), seed)
    order = np.random.default_rng(seed).permutation(len(names))
    whole = model.embed(as_block(counts), match_of(model, names), EmbedOptions())
    moved = model.embed(
        as_block(counts[:, order]), match_of(model, [names[i] for i in order]), EmbedOptions()
    )
    np.testing.assert_allclose(moved, whole, rtol=1e-3, atol=1e-4)
    less = model.embed(as_block(counts[:, :-1]), match_of(model, names[:-1]), EmbedOptions())
    np.testing.assert_allclose(less, whole, rtol=1e-3, atol=1e-4)


def test_depth_does_not_matter(model: CellFactors) -> None:
    names = some_genes(model)
    counts, match = counts_of(5, len(names)), match_of(model, names)
    once = model.embed(as_block(counts), match, EmbedOptions())
    np.testing.assert_allclose(
        model.embed(as_block(counts * 7), match, EmbedOptions()), once, rtol=1e-3, atol=1e-4
    )


def test_a_larger_panel_sees_more(model: CellFactors) -> None:
    names = some_genes(model, 900)
    seen = [model.panel(match_of(model, names[:count])).seen for count in (50, 200, 900)]
    assert ((seen[1] - seen[0]) > -1e-9).all()
    assert ((seen[2] - seen[1]) > -1e-9).all()
    assert 0 < seen[0].mean() < seen[2].mean() < 1


def test_a_mouse_cell_lies_where_the_human_cell_lies(model: CellFactors) -> None:
    rows = set(model.rows.tolist())
    place = {name: row for row, name in enumerate(model.vocabulary.genes)}
    pairs = [
        (human, mice[0])
        for human, mice in gene_table().human_to_mouse(one_to_one=True).items()
        if place.get(human) in rows and mice[0] in place
    ][:150]
    counts = counts_of(10, len(pairs), seed=4)
    results = [
        model.factors(as_block(counts), match_of(model, list(names))) for names in zip(*pairs, strict=True)
    ]
    np.testing.assert_array_equal(*results)
    assert np.ptp(results[0], axis=0).max() > 0.01


def test_mouse_genes_of_one_human_gene_are_added_up(model: CellFactors) -> None:
    human = model.text.human
    mice = np.flatnonzero(np.arange(len(human)) != human)
    shared, counts = np.unique(human[mice], return_counts=True)
    twice = next(row for row in shared[counts > 1] if row in set(model.rows.tolist()))
    pair = mice[human[mice] == twice][:2]
    others = [model.vocabulary.genes[row] for row in mice[np.isin(human[mice], model.rows[:3000])][:300]]
    names = [*(model.vocabulary.genes[row] for row in pair), *others]
    match = match_of(model, names)
    assert human_match(match, human).has_duplicates
    table = counts_of(3, len(names))
    summed = table.copy()
    summed[:, 0] += summed[:, 1]
    summed[:, 1] = 0
    np.testing.assert_allclose(
        model.factors(as_block(table), match), model.factors(as_block(summed), match), rtol=1e-3, atol=1e-4
    )


def test_too_few_genes_are_refused_in_one_sentence(model: CellFactors) -> None:
    names = some_genes(model)[:29]
    with pytest.raises(
        GeneMatchError, match=r"measures 29 genes .* needs 30; .* or embed with the model genetext"
    ):
        model.embed(as_block(counts_of(2, 29)), match_of(model, names), EmbedOptions())


def test_values_that_are_no_counts_are_refused(model: CellFactors) -> None:
    names = some_genes(model)
    counts = counts_of(3, len(names))
    counts[1, 3] = -1
    with pytest.raises(InputError, match="cell 1"):
        model.embed(as_block(counts), match_of(model, names), EmbedOptions())


def test_embedding_a_file_gives_zeros_for_empty_cells_and_no_nan(shipped_cells: Path) -> None:
    import anndata

    cells = anndata.read_h5ad(shipped_cells / "pbmc68k_reduced_counts_700.h5ad")[:40].copy()
    cells.X = cells.X.multiply((np.arange(40) != 3)[:, None]).tocsr()
    found = biolm.embed(cells, model="cellfactors").obsm["X_cellfactors"]
    assert found.shape == (40, 112)
    assert np.isfinite(found).all()
    assert not found[3].any()
    assert found[[2, 4]].any(1).all()


def test_uncertainty_stands_beside_the_vectors(shipped_cells: Path, tmp_path: Path) -> None:
    import anndata

    file = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    found = biolm.embed(file, model="cellfactors")
    record = found.uns["biolm"]["X_cellfactors"]["panel"]
    assert set(found.obs["X_cellfactors_uncertainty"]) == {np.float32(record["uncertainty"])}
    assert 0 < record["uncertainty_all_genes"] < record["uncertainty"] < 0.4
    assert 500 < record["genes_with_loadings"] < 765
    biolm.embed(file, model="cellfactors", output=tmp_path / "out.h5ad")
    written = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert written.obs["X_cellfactors_uncertainty"].equals(found.obs["X_cellfactors_uncertainty"])
    assert "X_genetext_uncertainty" not in biolm.embed(file, model="genetext").obs


def test_a_panel_that_sees_little_is_named(
    model: CellFactors, shipped_cells: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import anndata

    cells = anndata.read_h5ad(shipped_cells / "pbmc68k_reduced_counts_700.h5ad")[:20]
    biolm.embed(cells[:, :100].copy(), model=model)
    assert "of the factors' variance unseen" in caplog.text
    caplog.clear()
    biolm.embed(cells.copy(), model=model)
    assert "unseen" not in caplog.text
    with pytest.raises(GeneMatchError, match="embed with the model genetext"):
        biolm.embed(cells[:, :20].copy(), model=model)


def test_the_shipped_model_is_the_documented_one(model: CellFactors, repository: Path) -> None:
    folder = repository / "data/cellfactors"
    found = re.search(r"^sha256 `([0-9a-f]{64})`$", (folder / "README.md").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == hashlib.sha256((folder / FILE).read_bytes()).hexdigest() == model.sha256
    assert (folder / FILE).stat().st_size < 2 * 2**20
    assert recognises(folder)
    assert not recognises(folder.parent)
    assert (np.diff(model.rows) > 0).all()
    assert (np.diff(model.signal) < 1e-3 * model.signal[:-1]).all()


def test_saving_gives_the_same_bytes(model: CellFactors, tmp_path: Path, repository: Path) -> None:
    save(model, tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == (repository / "data/cellfactors" / FILE).read_bytes()
    assert registry.load(tmp_path).name == "cellfactors"


def test_a_damaged_or_foreign_model_is_refused(model: CellFactors, tmp_path: Path, repository: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read the loadings"):
        load(tmp_path)
    tensors = load_file(repository / "data/cellfactors" / FILE)
    save_file({name: value for name, value in tensors.items() if name != "noise"}, tmp_path / FILE)
    with pytest.raises(CheckpointError, match="should hold the tensors"):
        load(tmp_path)
    for name in ("genes", "loadings", "noise", "means", "fractions"):
        save(model, tmp_path / FILE)
        broken = replace(
            model,
            **{{"genes": "rows"}.get(name, name): tensors[name][1:]},
        )
        save(broken, tmp_path / FILE)
        with pytest.raises(CheckpointError, match="does not fit"):
            load(tmp_path)
    save(replace(model, rows=model.rows + 10**6), tmp_path / FILE)
    with pytest.raises(CheckpointError, match="genes that do not exist"):
        load(tmp_path)
    save(replace(model, text=replace(model.text, sha256="another")), tmp_path / FILE)
    with pytest.raises(CheckpointError, match="fit it again with biolm fit-factors"):
        load(tmp_path)


def test_loading_needs_nothing_heavy() -> None:
    code = (
        "import sys; from biolm.models.systems.cellfactors import load; load();"
        "print([name for name in ('torch', 'anndata', 'pandas', 'numba', 'scipy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_gene_stands_for_its_heaviest_human_gene() -> None:
    text = genetext.load()
    rows = {gene: row for row, gene in enumerate(text.vocabulary.genes)}
    best: dict[str, tuple[float, int]] = {}
    for human, mouse, weight in gene_table().orthologs():
        if human in rows and mouse in rows:
            best[mouse] = max(best.get(mouse, (0.0, 0)), (round(float(weight), 6), -rows[human]))
    for mouse, (_, row) in list(best.items())[:3000]:
        assert text.human[rows[mouse]] == -row
