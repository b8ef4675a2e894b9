"""The built-in model: the right mean, one space for two species, and what is promised of disjoint panels."""

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
from biolm.adapters.cells.kernels import mean_numba, mean_plain
from biolm.errors import CheckpointError
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.systems.genetext import FILE, GeneText, centre, load, random_like, recognises
from biolm.scoring.quality import transfer_quality
from biolm.tasks.demo.scores import open_set
from biolm.vocab.gene_table import gene_table
from biolm.vocab.match import GeneMatch


@pytest.fixture(scope="module")
def model() -> GeneText:
    return load()


def as_block(counts: np.ndarray, start: int = 0) -> CellBlock:
    """A dense table as a block."""
    rows, columns = np.nonzero(counts)
    indptr = np.searchsorted(rows, np.arange(len(counts) + 1))
    return CellBlock(start, counts[rows, columns], columns.astype(np.int32), indptr, counts.shape[1])


def match_of(model: GeneText, names: list[str]) -> GeneMatch:
    return model.vocabulary.match({"index": np.array(names)}, minimum=0)


def some_genes(model: GeneText, count: int = 200) -> list[str]:
    """Human genes that weigh something."""
    used = np.flatnonzero(model.factors[:15_000] > 0)
    return [model.vocabulary.genes[row] for row in used[:: len(used) // count][:count]]


def counts_of(cells: int, genes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(0.7, (cells, genes)).astype(np.float32)


def test_a_cell_is_the_weighted_mean_of_its_genes(model: GeneText) -> None:
    names = some_genes(model)
    counts = counts_of(20, len(names))
    got = model.embed(as_block(counts), match_of(model, names), EmbedOptions())
    rows = [model.vocabulary.genes.index(name) for name in names]
    weights = counts.astype(np.float64) ** 0.75 * model.factors[rows]
    expected = weights @ model.vectors[rows].astype(np.float64) / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_depth_does_not_matter_but_composition_does(model: GeneText) -> None:
    names = some_genes(model)
    counts, match = counts_of(5, len(names)), match_of(model, names)
    once = model.embed(as_block(counts), match, EmbedOptions())
    np.testing.assert_allclose(model.embed(as_block(counts * 7), match, EmbedOptions()), once, atol=1e-5)
    counts[:, ::2] = 0
    assert np.abs(model.embed(as_block(counts), match, EmbedOptions()) - once).max() > 0.1


@given(cut=st.integers(0, 30), seed=st.integers(0, 3))
def test_blocks_do_not_matter(model: GeneText, cut: int, seed: int) -> None:
    names = some_genes(model)
    counts, match = counts_of(30, len(names), seed), match_of(model, names)
    whole = model.embed(as_block(counts), match, EmbedOptions())
    parts = [as_block(counts[:cut]), as_block(counts[cut:], cut)]
    assert (
        np.concatenate([model.embed(part, match, EmbedOptions()) for part in parts]).tobytes()
        == whole.tobytes()
    )


@given(
    seed=st.integers(0, 5), kind=st.sampled_from([np.float32, np.float64]), width=st.sampled_from([1, 5, 48])
)
def test_both_kernels_give_the_same_bytes(model: GeneText, seed: int, kind: type, width: int) -> None:
    names = [*some_genes(model), "ENSG99999999999"]
    counts, match = counts_of(50, len(names), seed), match_of(model, names)
    counts[3] = 0
    counts[4, :-1] = 0  # counts in an unknown gene alone
    block = as_block(counts)
    factors = np.r_[model.factors[match.target[:-1]], np.float32(1)]
    vectors = model.vectors[:, :width].copy()
    vectors[match.target[:2]] = -0.0
    counts[5:8, 2:] = 0
    results = []
    for module in (mean_numba, mean_plain):
        out = np.zeros((50, width), np.float32)
        stored = (block.data.astype(kind), block.indices.view(np.uint32), block.indptr)
        module.mean_rows(*stored, match.target, vectors, factors, out)
        results.append(out)
    assert results[0].tobytes() == results[1].tobytes()
    assert not results[0][3:5].any()
    assert results[0][8:].any(axis=1).all()


def test_columns_of_one_gene_are_summed(model: GeneText) -> None:
    names = some_genes(model, 20)
    counts = counts_of(8, 20)
    twice = np.hstack([counts, counts[:, :1]])
    got = model.embed(as_block(twice), match_of(model, [*names, names[0]]), EmbedOptions())
    counts[:, 0] *= 2
    expected = model.embed(as_block(counts), match_of(model, names), EmbedOptions())
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_mouse_cell_lies_where_the_human_cell_lies(model: GeneText) -> None:
    pairs = [(human, mice[0]) for human, mice in gene_table().human_to_mouse(one_to_one=True).items()]
    known = set(model.vocabulary.genes)
    human, mouse = zip(*[pair for pair in pairs if known.issuperset(pair)][:100], strict=True)
    counts = counts_of(10, 100, seed=4)
    results = [
        model.embed(as_block(counts), match_of(model, list(names)), EmbedOptions())
        for names in (human, mouse)
    ]
    np.testing.assert_array_equal(*results)
    assert np.ptp(results[0], axis=0).min() > 0.01


def test_a_mouse_gene_is_the_weighted_mean_of_its_human_genes(model: GeneText) -> None:
    rows = {gene: row for row, gene in enumerate(model.vocabulary.genes)}
    groups: dict[str, list[tuple[int, float]]] = {}
    for human, mouse, weight in gene_table().orthologs():
        if human in rows and mouse in rows:
            groups.setdefault(mouse, []).append((rows[human], weight))
    several = [mouse for mouse, humans in groups.items() if len(humans) > 1][:200]
    for mouse in several:
        places, weights = zip(*groups[mouse], strict=True)
        expected = np.average(model.vectors[list(places)].astype(np.float64), axis=0, weights=weights)
        np.testing.assert_allclose(model.vectors[rows[mouse]], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "symbol", ["Lyz1", "Lyz2", "Tmsb10", "S100a9", "Ccl5", "Hbb-bs", "Rplp0", "Ptma", "Mt2"]
)
def test_known_mouse_genes_have_a_vector(model: GeneText, symbol: str) -> None:
    (gene,) = gene_table().species("mouse").ids[symbol]
    assert model.vectors[model.vocabulary.genes.index(gene)].any()


def test_a_mouse_gene_whose_human_namesake_has_a_vector_has_one(model: GeneText) -> None:
    human, mouse = gene_table().species("human"), gene_table().species("mouse")
    known = set(model.vocabulary.genes)
    named = {
        symbol: ids[0]
        for symbol, ids in mouse.ids.items()
        if len(ids) == 1 and len(human.ids.get(symbol.upper(), ())) == 1
    }
    lost = [
        symbol
        for symbol, gene in named.items()
        if human.ids[symbol.upper()][0] in known
        and gene not in known
        and not re.match(r"(IG|TR)_[VDJ]_", mouse.biotype[gene])
    ]
    # Ensembl lists these with a read-through of their namesake (BUB1B-PAK6), which has no text.
    assert set(lost) <= {"Atp6v1g2", "Bub1b", "Tsnax"}


def test_disjoint_panels_still_meet(model: GeneText) -> None:
    cite, pbmc = (open_set(name, model) for name in ("pbmc_cite_10k", "pbmc68k_reduced_counts_700"))
    scores = {}
    for used in (model, random_like(model, 0)):
        found = []
        for seed in range(3):
            half = np.random.default_rng(seed).random(len(model.vocabulary)) < 0.5
            moved = transfer_quality(
                cite.vectors(used, half),
                cite.common_labels,
                pbmc.vectors(used, ~half),
                pbmc.common_labels,
                leave_out=("other",),
            )
            found.append(moved.macro_f1)
        scores[used.name] = np.mean(found)
    assert scores["genetext"] > 0.4
    assert scores["genetext"] > scores["random"] + 0.15


def test_the_control_keeps_all_but_the_text(model: GeneText) -> None:
    control = random_like(model, 1)
    assert control.vocabulary is model.vocabulary
    assert control.factors is model.factors
    assert control.vectors.shape == model.vectors.shape
    assert np.array_equal(control.vectors, random_like(model, 1).vectors)
    assert not np.array_equal(control.vectors, random_like(model, 2).vectors)
    assert abs(np.corrcoef(control.vectors[:, 0], model.vectors[:, 0])[0, 1]) < 0.05


def test_centring_moves_the_mean_and_nothing_else() -> None:
    vectors = np.random.default_rng(0).normal(3, 2, (40, 5)).astype(np.float32)
    vectors[11] = 0
    got = centre(vectors)
    full = np.delete(got, 11, axis=0)
    assert not got[11].any()
    np.testing.assert_allclose(full.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(
        full[3:] - full[2], (np.delete(vectors, 11, axis=0)[3:] - vectors[2]), atol=1e-6
    )
    assert not centre(np.zeros((3, 2), np.float32)).any()
    assert centre(np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_the_shipped_table_is_the_documented_one(model: GeneText, repository: Path) -> None:
    folder = repository / "data/genetext"
    found = re.search(r"^sha256 `([0-9a-f]{64})`$", (folder / "README.md").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == hashlib.sha256((folder / FILE).read_bytes()).hexdigest() == model.sha256
    assert recognises(folder)
    assert not recognises(folder.parent)
    assert model.describe()["checkpoint_sha256"] == model.sha256
    assert len(set(model.vocabulary.genes)) == len(model.vectors) == len(model.factors)
    assert np.isfinite(model.vectors).all()
    assert (folder / FILE).stat().st_size < 6 * 2**20


def test_a_damaged_table_is_refused(tmp_path: Path, repository: Path) -> None:
    tensors = load_file(repository / "data/genetext" / FILE)
    with pytest.raises(CheckpointError, match="cannot read the gene vectors"):
        load(tmp_path)
    (tmp_path / FILE).write_bytes((repository / "data/genetext" / FILE).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot read the gene vectors"):
        load(tmp_path)
    save_file({name: value for name, value in tensors.items() if name != "mouse"}, tmp_path / FILE)
    with pytest.raises(CheckpointError, match="should hold the tensors"):
        load(tmp_path)
    save_file(tensors | {"vectors": tensors["vectors"][1:]}, tmp_path / FILE)
    with pytest.raises(CheckpointError, match="do not fit together"):
        load(tmp_path)
    save_file(tensors, tmp_path / FILE)
    assert np.array_equal(load(tmp_path).vectors, load().vectors)


def test_loading_needs_nothing_heavy() -> None:
    code = (
        "import sys; from biolm.models.systems.genetext import load; load();"
        "print([name for name in ('torch', 'anndata', 'pandas', 'numba') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_match_of_other_cells_is_refused(model: GeneText) -> None:
    from biolm.errors import InputError

    match = match_of(model, some_genes(model, 10))
    with pytest.raises(InputError, match="gene match"):
        model.embed(as_block(counts_of(2, 11)), replace(match), EmbedOptions())


def test_mouse_monocytes_find_human_monocytes(model: GeneText, data_cells: Path) -> None:
    import anndata
    from sklearn.neighbors import KNeighborsClassifier

    found = {}
    for name in ("pbmc3k_2638", "paul15_mouse_2660"):
        cells = anndata.read_h5ad(data_cells / f"{name}.h5ad")
        found[name] = (
            biolm.embed(cells, model=model).obsm["X_genetext"],
            cells.obs["cell_type"].astype(str).to_numpy(),
        )
    vectors, types = found["pbmc3k_2638"]
    nearest = KNeighborsClassifier(10, metric="cosine").fit(vectors, types)
    mouse, kinds = found["paul15_mouse_2660"]
    called = nearest.predict(mouse[kinds == "Monocytes"]).tolist()
    assert np.mean([name.endswith("Mono") for name in called]) > 0.9
