"""Embedding, prediction, attention, retrieval, domains and deconvolution of small sections.

Numbers of traps are those of the specification, A.5.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import make_section
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

import biolm
from biolm.errors import ConfigError, InputError
from biolm.scoring.retrieval import retrieve_both_ways, retrieve_partners
from biolm.tasks.spatial.attention import write_attention
from biolm.tasks.spatial.deconvolve import deconvolve, fit_topics, reference_profiles
from biolm.tasks.spatial.domains import domains
from biolm.tasks.spatial.embed import embed, spot_attention
from biolm.tasks.spatial.predict import predict
from biolm.tasks.spatial.prepared import load_prepared
from biolm.tasks.spatial.retrieve import retrieve
from biolm.tasks.spatial.settings import DeconvolveSettings, DomainSettings


def invoke(*arguments: object):
    from biolm.cli.main import app

    return CliRunner().invoke(app, ["spatial", *map(str, arguments)])


def test_embed_writes_vectors_of_both_sides(prepared: list[Path], model_folder: Path, tmp_path: Path) -> None:
    import anndata

    found = embed(prepared[0], model_folder, tmp_path / "out.h5ad")
    adata = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert adata.obsm["X_fused"].shape == (80, 32)
    for name in ("X_fused", "X_fused_genes", "X_fused_image"):
        assert np.array_equal(adata.obsm[name], found[name])
        assert np.isfinite(adata.obsm[name]).all()
    assert adata.uns["biolm"]["X_fused"]["model"] == "gene-image"
    assert set(embed(prepared[0], model_folder, mode="genes")) == {"X_fused", "X_fused_genes"}
    with pytest.raises(ConfigError, match="predict from genes, image, both"):
        embed(prepared[0], model_folder, mode="neither")


def test_contrast_vectors_are_taken_before_fusion(prepared: list[Path], model_folder: Path) -> None:
    from biolm.models.systems.gene_image_store import load_gene_image
    from biolm.tasks.spatial.embed import model_arrays
    from biolm.training.spatial.arrays import other_spots
    from biolm.training.spatial.fit import predict_arrays

    saved = load_gene_image(model_folder)
    arrays = model_arrays(saved, load_prepared(prepared[0]))
    plain = predict_arrays(saved.model, arrays)
    wrong = predict_arrays(saved.model, arrays, image_of=other_spots(arrays.section, 0))
    # With another spot's image the fused vectors change and the gene vectors do not, to the bit.
    assert np.array_equal(plain.gene_vector, wrong.gene_vector)
    assert not np.allclose(plain.fused, wrong.fused)


def test_a_section_prepared_otherwise_is_refused(model_folder: Path, tmp_path: Path) -> None:
    from biolm.adapters.spatial.patches import PatchSettings
    from biolm.tasks.spatial.prepare import prepare
    from biolm.tasks.spatial.settings import PrepareSettings

    adata, image = make_section(5)
    settings = PrepareSettings(patches=PatchSettings(side_um=150, pixels=32))
    prepare(adata, tmp_path / "other.h5ad", image=image, settings=settings)
    with pytest.raises(InputError, match=r"prepared with patch_um 150 but the model's sections with 112"):
        embed(tmp_path / "other.h5ad", model_folder)
    prepare(adata, tmp_path / "plain.h5ad", image="none")
    with pytest.raises(InputError, match="no image features"):
        embed(tmp_path / "plain.h5ad", model_folder)
    assert predict(tmp_path / "plain.h5ad", model_folder, mode="genes").values.shape == (80, 6)


def test_predict_states_what_it_is_worth(prepared: list[Path], model_folder: Path, tmp_path: Path) -> None:
    import anndata

    target = tmp_path / "p.h5ad"
    found = predict(prepared[2], model_folder, target, picture=tmp_path / "p.png")
    assert found.values.shape == (80, 6)
    assert found.correlation is not None
    record = anndata.read_h5ad(target).uns["biolm"]["predicted_expression"]
    assert record["mean_pearson"] == pytest.approx(found.correlation.mean())
    assert record["genes"].split(", ") == found.genes.tolist()
    assert (tmp_path / "p.png").stat().st_size > 5000
    result = invoke(
        "predict", prepared[2], "-m", model_folder, "-o", tmp_path / "q.h5ad", "--mode", "image", "-q"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("mean Pearson r of 6 genes")


def test_attention_is_exported_both_ways_and_drawn(
    prepared: list[Path], model_folder: Path, tmp_path: Path
) -> None:
    one = spot_attention(prepared[0], model_folder, ["s0_003"])[0]
    assert one.to_image.shape == (8, 18)
    assert one.to_genes.shape == (18, 8)
    np.testing.assert_allclose(one.to_image.sum(1), 1, rtol=1e-5)
    assert (one.to_genes.sum(1) < 1).all()  # the rest goes to the spot, its context and its neighbours
    assert one.grid.shape == (4, 4)
    assert len(one.top_genes(3)) == 3
    with pytest.raises(InputError, match="has no spot 'nobody'"):
        spot_attention(prepared[0], model_folder, ["nobody"])
    write_attention(prepared[0], model_folder, tmp_path / "attention", spots=["s0_003", "s0_004"])
    names = {path.name for path in (tmp_path / "attention").iterdir()}
    assert names >= {"genes_to_image.tsv", "image_to_genes.tsv", "map.png", "spot_1.png", "spot_2.png"}
    lines = (tmp_path / "attention" / "genes_to_image.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:3] == ["gene", "patch", "surroundings"]
    assert len(lines) == 9


def test_retrieval_within_and_across_sections(
    prepared: list[Path], model_folder: Path, tmp_path: Path
) -> None:
    found = retrieve(prepared[:2], model_folder, picture=tmp_path / "r.png")
    assert list(found)[-1] == "across sections"
    within, across = found[next(iter(found))]["genes to image"], found["across sections"]["image to genes"]
    assert (within["gallery"], across["gallery"]) == (80, 160)
    assert within["recall_at_10"]["chance"] == 0.125
    assert within["recall_at_1"]["low"] <= within["recall_at_1"]["value"] <= within["recall_at_1"]["high"]
    result = invoke("retrieve", *prepared[:2], "-m", model_folder, "--json")
    assert json.loads(result.stdout)["across sections"]["genes to image"]["gallery"] == 160
    assert "was trained on this section" in invoke("retrieve", prepared[0], "-m", model_folder).stdout


def test_ranks_of_ties_are_mid_ranks_so_that_equal_vectors_are_chance() -> None:
    same = np.ones((9, 3))
    found = retrieve_partners(same, same)
    assert found.ranks.tolist() == [5] * 9
    assert found.recall(1) == 0
    assert found.chance(1) == pytest.approx(1 / 9)


@given(st.integers(2, 30), st.integers(0, 10**6))
def test_ranks_are_those_of_a_plain_sort(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 4)), rng.normal(size=(n, 4))
    both = retrieve_both_ways(a, b)
    cosine = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    plain = [1 + int((row > row[i]).sum()) for i, row in enumerate(cosine)]
    assert both["genes to image"].ranks.tolist() == plain
    assert retrieve_partners(a, a).recall(1) == 1


def test_trap_10_domains_are_the_same_twice_and_say_how_seeds_agree(tmp_path: Path) -> None:
    """Trap 10: at least ten seeds, a mean with its spread, the same result twice, controls beside it."""
    adata, _ = make_section(3)
    adata.obs["region"] = np.where(adata.obsm["spatial"][:, 1] > 200, "low", "high")
    adata.obs.loc[adata.obs.index[:5], "region"] = "undetermined"
    adata.write_h5ad(tmp_path / "s.h5ad")
    settings = DomainSettings(k=2, components=5, variable_genes=50)
    assert settings.seeds >= 10
    first, second = (domains(tmp_path / "s.h5ad", settings=settings, label="region") for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert first.scores == second.scores
    assert set(first.scores) == {"domains by kmeans", "coordinates alone", "library size alone"}
    assert first.scores["domains by kmeans"]["seeds"] == 10
    # The labels have no part: without them the domains are the same.
    assert np.array_equal(domains(tmp_path / "s.h5ad", settings=settings).labels, first.labels)
    chosen = domains(tmp_path / "s.h5ad", settings=DomainSettings(components=5, variable_genes=50, seeds=2))
    assert chosen.chosen == "by silhouette, without labels"
    arguments = ["--k", 3, "--method", "mixture", "--components", 5, "--label", "region", "-q"]
    outputs = ["-o", tmp_path / "d.h5ad", "--picture", tmp_path / "d.png"]
    result = invoke("domains", tmp_path / "s.h5ad", *arguments, *outputs)
    assert result.exit_code == 0, result.output
    assert "coordinates alone: ARI" in result.stdout
    import anndata

    assert anndata.read_h5ad(tmp_path / "d.h5ad").obs["spatial_domain"].nunique() == 3
    with pytest.raises(InputError, match="has no column 'nothing'"):
        domains(tmp_path / "s.h5ad", settings=settings, label="nothing")


def test_domains_of_other_vectors(prepared: list[Path], model_folder: Path, tmp_path: Path) -> None:
    embed(prepared[0], model_folder, tmp_path / "e.h5ad")
    found = domains(tmp_path / "e.h5ad", vectors="X_fused", settings=DomainSettings(k=2, seeds=2))
    assert sorted(set(found.labels.tolist())) == [0, 1]
    with pytest.raises(InputError, match=r"no obsm\['X_nothing'\]"):
        domains(tmp_path / "e.h5ad", vectors="X_nothing", settings=DomainSettings(k=2, seeds=2))


def mixed(seed: int = 0):
    """Three types of cells, and spots mixed from them."""
    import anndata
    import pandas as pd

    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.4, 1.0, (3, 120))
    profiles /= profiles.sum(1, keepdims=True)
    genes = [f"G{number}" for number in range(120)]
    types = np.repeat(["a", "b", "c"], 30)
    cells = rng.poisson(profiles[np.repeat(np.arange(3), 30)] * 3000).astype(np.float32)
    reference = anndata.AnnData(cells, obs=pd.DataFrame({"type": types}, index=[f"c{n}" for n in range(90)]))
    reference.var_names = genes
    fractions = rng.dirichlet([0.6] * 3, 70)
    spots = anndata.AnnData(rng.poisson(fractions @ profiles * 4000).astype(np.float32))
    spots.obs_names, spots.var_names = [f"s{n}" for n in range(70)], genes
    spots.obsm["spatial"] = rng.uniform(0, 1000, (70, 2))
    return reference, spots, fractions


def test_nnls_is_no_worse_than_scipys_on_the_same_reference() -> None:
    from scipy.optimize import nnls

    reference, spots, truth = mixed()
    found = deconvolve(spots, reference=reference, settings=DeconvolveSettings(label="type", genes=120))
    names, _, profiles = reference_profiles(reference, "type")
    assert found.names.tolist() == names.tolist() == ["a", "b", "c"]
    counts = spots.X / spots.X.sum(1, keepdims=True)
    plain = np.stack([nnls(profiles.T, row)[0] for row in counts])
    plain /= plain.sum(1, keepdims=True)
    error, theirs = (float(np.sqrt(((x - truth) ** 2).mean())) for x in (found.fractions, plain))
    assert error <= theirs * 1.001
    assert error < 0.05


def test_trap_11_topics_come_from_counts_and_say_whether_they_converged(tmp_path: Path) -> None:
    """Trap 11: not from transformed values, not plotted when unfinished, and K not by eye."""
    _, spots, truth = mixed()
    settings = DeconvolveSettings(topics=(2, 3, 6), genes=120)
    found = deconvolve(spots, settings=settings)
    assert found.provenance["converged"]
    assert found.provenance["topics"] == 3
    assert set(found.provenance["held_out_perplexity"]) == {"2", "3", "6"}
    matched = np.corrcoef(found.fractions.T, truth.T)[:3, 3:].max(1)
    assert matched.min() > 0.9
    np.testing.assert_allclose(found.fractions.sum(1), 1, rtol=1e-6)
    short = DeconvolveSettings(topics=(3,), genes=120, iterations=2)
    assert not deconvolve(spots, settings=short).provenance["converged"]
    with pytest.raises(InputError, match="did not converge, so there is nothing to draw"):
        deconvolve(spots, settings=short, picture=tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
    with pytest.raises(InputError, match="LDA is defined on raw counts"):
        fit_topics(csr_matrix(np.log1p(spots.X)), 3, settings)


def test_trap_12_symbols_in_another_case_are_seen() -> None:
    """Trap 12: names of genes that do not meet are an error and no section of NaN."""
    reference, spots, _ = mixed()
    spots.var_names = [name.lower() for name in spots.var_names]
    with pytest.raises(InputError, match="share 0 genes by name"):
        deconvolve(spots, reference=reference, settings=DeconvolveSettings(label="type"))
    spots.X = np.log1p(spots.X)
    with pytest.raises(InputError, match="where raw counts are wanted"):
        deconvolve(spots, settings=DeconvolveSettings())


def test_deconvolve_from_the_command_line(tmp_path: Path) -> None:
    reference, spots, _ = mixed()
    reference.write_h5ad(tmp_path / "r.h5ad")
    spots.write_h5ad(tmp_path / "s.h5ad")
    outputs = ["-o", tmp_path / "d.h5ad", "--picture", tmp_path / "d.png"]
    arguments = ["--reference", tmp_path / "r.h5ad", "--label", "type", "-q"]
    result = invoke("deconvolve", tmp_path / "s.h5ad", *arguments, *outputs)
    assert result.exit_code == 0, result.output
    assert "method: nnls" in result.stdout
    import anndata

    assert anndata.read_h5ad(tmp_path / "d.h5ad").obsm["deconvolved"].shape == (70, 3)
    assert invoke("deconvolve", tmp_path / "s.h5ad", "--label", "type").exit_code == 2


def test_the_face_offers_every_verb() -> None:
    for name in biolm.spatial.__all__:
        assert callable(getattr(biolm.spatial, name)), name
