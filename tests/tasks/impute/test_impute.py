"""Imputed genes: the posterior they promise, what stands beside them, files, shards, and refusals."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app
from biolm.errors import BiolmError, ConfigError, GeneMatchError, InputError, OutputError
from biolm.jobs import spool
from biolm.models.systems.cellfactors import CellFactors, load, save
from biolm.vocab.gene_table import gene_table


@pytest.fixture(scope="module")
def model() -> CellFactors:
    return load()


def cells_of(names: list[str], cells: int = 12, seed: int = 0) -> anndata.AnnData:
    counts = np.random.default_rng(seed).poisson(0.7, (cells, len(names))).astype(np.float32)
    obs = pd.DataFrame({"kind": list("ab") * (cells // 2)}, index=[f"cell{i}" for i in range(cells)])
    return anndata.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=names))


def ids_of(model: CellFactors, places: slice) -> list[str]:
    return [model.vocabulary.genes[row] for row in model.rows[places]]


def pairs_of(model: CellFactors) -> list[tuple[str, str]]:
    """Human genes with loadings and the only mouse gene that stands for each."""
    human, genes = model.text.human, model.vocabulary.genes
    mice = np.flatnonzero(human != np.arange(len(human)))
    rows, first, count = np.unique(human[mice], return_index=True, return_counts=True)
    kept = (count == 1) & np.isin(rows, model.rows)
    return [(genes[row], genes[mice[at]]) for row, at in zip(rows[kept], first[kept], strict=True)]


def test_values_are_the_posterior_mean_of_genes_given_the_panel(model: CellFactors) -> None:
    cells = cells_of(ids_of(model, slice(0, 4000, 20)))
    asked = ids_of(model, slice(11, 4011, 400))
    found = biolm.impute(cells, genes=asked)
    known, wanted = np.arange(0, 4000, 20), np.arange(11, 4011, 400)
    counts = cells.X.toarray().astype(np.float64)
    share = model.fractions[model.rows[known]].astype(np.float64).sum()
    y = np.log1p(1e4 * share * counts / counts.sum(1, keepdims=True))
    w, v = (model.loadings[rows].astype(np.float64) for rows in (known, wanted))
    # By the covariance of all genes, the other way round than the model computes it.
    covariance = w @ w.T + np.diag(model.noise[known].astype(np.float64))
    solved = np.linalg.solve(covariance, w @ v.T)
    expected = np.maximum(model.means[wanted] + (y - model.means[known]) @ solved, 0)
    np.testing.assert_allclose(found.X, expected, rtol=1e-3, atol=1e-3)
    prior = (v**2).sum(1) + model.noise[wanted]
    left = prior - np.einsum("gm,gm->m", w @ v.T, solved)
    np.testing.assert_allclose(found.var["posterior_variance"], left, rtol=1e-3)
    np.testing.assert_allclose(found.var["expected_r2"], 1 - left / prior, atol=1e-3)
    assert found.var_names.tolist() == found.var["id"].tolist() == asked
    assert found.obs["kind"].tolist() == cells.obs["kind"].tolist()
    assert not found.var["measured"].any()


def test_a_measured_gene_is_smoothed_and_told_apart(
    model: CellFactors, caplog: pytest.LogCaptureFixture
) -> None:
    cells = cells_of(ids_of(model, slice(0, 4000, 20)))
    found = biolm.impute(cells, genes=[cells.var_names[3], *ids_of(model, slice(5, 6))])
    assert found.var["measured"].tolist() == [True, False]
    assert "measures 1 of the 2 genes: their values are smoothed" in caplog.text
    everything, lacking = (biolm.impute(cells[:2], genes=word) for word in ("all", "unmeasured"))
    assert everything.n_vars == len(model.rows)
    assert lacking.n_vars == len(model.rows) - cells.n_vars
    assert everything.var["measured"].sum() == cells.n_vars
    assert not set(lacking.var["id"]) & set(cells.var_names)
    assert everything.var_names.is_unique
    assert "CD3D" in everything.var_names


def test_a_mouse_gene_gets_the_value_of_its_human_gene(model: CellFactors) -> None:
    pairs = pairs_of(model)
    assert len(pairs) > 5000
    human, mouse = ([pair[side] for pair in pairs] for side in (0, 1))
    found = []
    for names in (human, mouse):
        cells = cells_of(names[:300])
        found.append(biolm.impute(cells, genes=names[1000:1010]))
    np.testing.assert_allclose(found[1].X, found[0].X, rtol=1e-4, atol=1e-4)
    assert found[1].var["human_ortholog"].tolist() == human[1000:1010]
    assert set(found[1].var["genes_summed"]) == {1}
    assert "human_ortholog" not in found[0].var


def test_mouse_genes_of_one_human_gene_share_its_value(model: CellFactors) -> None:
    mouse = [pair[1] for pair in pairs_of(model)][:300]
    found = biolm.impute(cells_of(mouse), genes="unmeasured")
    several = found.var[found.var["genes_summed"] > 1]
    assert len(several) > 100
    for _, group in list(several.groupby("human_ortholog"))[:20]:
        assert len(group) == group["genes_summed"].iloc[0]
        values = found[:, group.index].X
        np.testing.assert_array_equal(values, values[:, :1].repeat(len(group), 1))
    assert found.var_names.is_unique
    symbols = gene_table().ensembl_to_symbol("mouse")
    assert symbols[found.var["id"].iloc[0]] == found.var_names[0]


def test_cells_without_counts_get_the_means_and_are_flagged(model: CellFactors) -> None:
    cells = cells_of(ids_of(model, slice(0, 4000, 20)))
    cells.X = cells.X.multiply((np.arange(12) != 4)[:, None]).tocsr()
    found = biolm.impute(cells, genes=ids_of(model, slice(5, 9)))
    assert found.obs["imputed_empty"].tolist() == [row == 4 for row in range(12)]
    np.testing.assert_array_equal(found.X[4], model.means[5:9])
    assert found.obs["imputed_uncertainty"].iloc[4] == 1
    assert found.uns["biolm"]["imputed"]["empty_cells"] == 1
    assert (found.X >= 0).all()


@pytest.mark.parametrize("form", ["h5ad", "zarr", "npy"])
def test_a_file_in_blocks_and_in_shards_is_the_same_to_the_byte(
    form: str, model: CellFactors, tmp_path: Path
) -> None:
    path = tmp_path / "cells.h5ad"
    cells_of(ids_of(model, slice(0, 4000, 20))).write_h5ad(path)
    genes = ids_of(model, slice(5, 205, 2))
    given = {"genes": genes, "block_rows": 5}
    whole, merged = tmp_path / f"whole.{form}", tmp_path / f"merged.{form}"
    biolm.impute(path, output=whole, **given)
    shards = [biolm.impute(path, output=tmp_path / f"part{n}", shard=f"{n}/2", **given) for n in (1, 2)]
    biolm.merge(shards, merged)
    first, second = (
        sorted(file for file in [at, *at.rglob("*")] if file.is_file()) for at in (whole, merged)
    )
    assert first
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    memory = biolm.impute(path, genes=genes)
    if form == "npy":
        values = np.load(whole)
        beside = json.loads(whole.with_suffix(".npy.json").read_text())
        assert beside == json.loads(merged.with_suffix(".npy.json").read_text())
        assert beside["genes"] == genes
        assert beside["names"] == memory.obs_names.tolist()
        assert beside["gene_columns"]["measured"] == [False] * 100
    else:
        written = anndata.read_h5ad(whole) if form == "h5ad" else anndata.read_zarr(whole)
        values = written.X
        assert written.var_names.tolist() == genes
        pd.testing.assert_frame_equal(written.var, memory.var)
        assert written.obs["kind"].tolist() == memory.obs["kind"].tolist()
        record = written.uns["biolm"]["imputed"]
        assert record["unit"].startswith("log(1 + counts")
        assert record["checkpoint"]["checkpoint_sha256"] == model.sha256
    np.testing.assert_allclose(values, memory.X, rtol=1e-4, atol=1e-5)


def test_a_killed_job_is_gone_on_with_and_another_is_refused(
    model: CellFactors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "cells.h5ad", tmp_path / "out.h5ad"
    cells_of(ids_of(model, slice(0, 4000, 20))).write_h5ad(path)
    given = {"genes": ids_of(model, slice(5, 9)), "block_rows": 4}
    biolm.impute(path, output=tmp_path / "whole.h5ad", **given)
    seen: list[int] = []
    factors = CellFactors.factors

    def dying(self, block, match):
        seen.append(block.start)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return factors(self, block, match)

    monkeypatch.setattr(CellFactors, "factors", dying)
    with pytest.raises(KeyboardInterrupt):
        biolm.impute(path, output=out, **given)
    with pytest.raises(BiolmError, match="another job"):
        biolm.impute(path, output=out, resume=True, genes=ids_of(model, slice(6, 9)), block_rows=4)
    biolm.impute(path, output=out, resume=True, **given)
    assert seen == [0, 4, 4, 8]
    assert out.read_bytes() == (tmp_path / "whole.h5ad").read_bytes()


def test_a_fit_of_ones_own_imputes(model: CellFactors, tmp_path: Path) -> None:
    save(
        replace(
            model,
            rows=model.rows[:500],
            loadings=model.loadings[:500],
            noise=model.noise[:500],
            means=model.means[:500],
        ),
        tmp_path / "cellfactors.safetensors",
    )
    cells = cells_of(ids_of(model, slice(0, 500, 5)))
    found = biolm.impute(cells, model=tmp_path)
    assert found.n_vars == 400


def test_the_face_of_anndata_puts_imputed_genes_beside_the_counts(model: CellFactors) -> None:
    cells = cells_of(ids_of(model, slice(0, 4000, 20)))
    cells.X = csr_matrix(cells.X.multiply(np.arange(12)[:, None] != 4))
    asked = ids_of(model, slice(5, 8))
    alone = biolm.impute(cells, genes=asked)
    copied = biolm.tl.impute(cells, genes=asked, key_added="more", copy=True)
    assert list(cells.obsm) == []
    assert biolm.tl.impute(cells, genes=asked) is None
    for table, key in ((cells, "imputed"), (copied, "more")):
        pd.testing.assert_frame_equal(table.obsm[key], alone.to_df())
        pd.testing.assert_frame_equal(table.uns[key], alone.var)
        assert table.obs[f"{key}_empty"].tolist() == [row == 4 for row in range(12)]
        assert table.uns["biolm"][key] == alone.uns["biolm"]["imputed"]
    # What biolm wrote may be replaced; what it did not write stays.
    biolm.tl.impute(cells, genes=asked[:1])
    assert cells.obsm["imputed"].shape == (12, 1)
    cells.obsm["mine"], cells.obs["yours_uncertainty"] = np.zeros((12, 2)), 0.0
    for key in ("mine", "yours"):
        with pytest.raises(OutputError, match="not written by biolm"):
            biolm.tl.impute(cells, genes=asked, key_added=key)
    biolm.tl.impute(cells, genes=asked, key_added="mine", overwrite=True)
    assert cells.obsm["mine"].shape == (12, 3)
    with pytest.raises(ConfigError, match="`overwrite` is for jobs that write a file"):
        biolm.impute(cells, genes=asked, overwrite=True)


def refused(cells: anndata.AnnData, **given: object) -> str:
    with pytest.raises(BiolmError) as caught:
        biolm.impute(cells, **given)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_cannot_be_imputed_is_refused_in_one_sentence(model: CellFactors, tmp_path: Path) -> None:
    cells = cells_of(ids_of(model, slice(0, 4000, 20)))
    for name in ("genetext", "biolm-cell-mini"):
        with pytest.raises(ConfigError, match=f"model {name} imputes no genes; choose cellfactors"):
            biolm.impute(cells, model=name)
    assert "knows no human genes called NOSUCHGENE; check" in refused(cells, genes=["NOSUCHGENE"])
    several = refused(cells, genes=["CD3D", *(f"nobody {n}" for n in range(7))])
    assert "called nobody 0, nobody 1, nobody 2, nobody 3, nobody 4 and 2 more; check" in several
    without = next(
        gene
        for row, gene in enumerate(model.vocabulary.genes)
        if row not in set(model.rows.tolist()) and gene.startswith("ENSG")
    )
    said = refused(cells, genes=["CD3D", without])
    assert f"cellfactors cannot impute {without}: the 9,000 genes that it imputes" in said
    assert "leave such genes out" in said
    assert "no gene is named" in refused(cells, genes=[])
    assert "no such file of gene names" in refused(cells, genes=tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    assert "names no gene" in refused(cells, genes=tmp_path / "empty.txt")
    with pytest.raises(ConfigError, match="impute has no option seed"):
        biolm.impute(cells, genes=["CD3D"], seed=3)
    with pytest.raises(ConfigError, match="impute has no option device"):
        biolm.impute(cells, genes=["CD3D"], device="cpu")
    with pytest.raises(ConfigError, match=r"is not one of h5ad, zarr, npy"):
        biolm.impute(cells, genes=["CD3D"], output=tmp_path / "x.parquet")
    assert list(tmp_path.glob("x.*")) == []


def test_cells_that_cannot_be_imputed_from_are_refused(model: CellFactors) -> None:
    names = ids_of(model, slice(0, 4000, 20))
    with pytest.raises(GeneMatchError, match=r"measures 29 genes .* needs 30"):
        biolm.impute(cells_of(names[:29]), minimum_match=0)
    with pytest.raises(GeneMatchError):
        biolm.impute(cells_of([f"unknown{n}" for n in range(50)]))
    normalised = cells_of(names)
    normalised.X = normalised.X.log1p()
    with pytest.raises(InputError, match="counts"):
        biolm.impute(normalised)
    every = cells_of(ids_of(model, slice(None)), cells=2)
    assert "measures every gene that cellfactors imputes" in refused(every)


def test_the_command_writes_and_reads_lists_of_genes(model: CellFactors, tmp_path: Path) -> None:
    path, genes = tmp_path / "cells.h5ad", tmp_path / "genes.txt"
    cells_of(ids_of(model, slice(0, 4000, 20))).write_h5ad(path)
    genes.write_text("CD3D\nMS4A1\n")
    for number, words in enumerate(
        (["-g", "CD3D,MS4A1"], ["-g", "CD3D", "-g", "MS4A1"], ["--genes", str(genes)])
    ):
        out = tmp_path / f"out{number}.h5ad"
        ran = CliRunner().invoke(app, ["impute", str(path), "-o", str(out), *words])
        assert ran.exit_code == 0, ran.output
        assert anndata.read_h5ad(out).var_names.tolist() == ["CD3D", "MS4A1"]
    ran = CliRunner().invoke(
        app, ["impute", str(path), "-o", str(tmp_path / "x.npy"), "-g", "CD3D", "--genes", str(genes)]
    )
    assert ran.exit_code == 2
    assert "--gene names genes and --genes a file of them" in ran.output
    for command, single in (("impute", "--gene"), ("perturb", "--delete or --overexpress")):
        out = str(tmp_path / "x.tsv" if command == "perturb" else tmp_path / "x.npy")
        ran = CliRunner().invoke(app, [command, str(path), "-o", out, "--genes", "CD3D,MS4A1"])
        words = " ".join(ran.output.split())
        assert (ran.exit_code, f"or name genes by {single}" in words) == (1, True), ran.output


def test_memory_does_not_grow_with_the_cells(
    model: CellFactors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY", 0)
    genes, peaks = ids_of(model, slice(5, 1005)), []
    for number in (500, 1000, 5000):
        path = tmp_path / f"{number}.h5ad"
        cells_of(ids_of(model, slice(0, 4000, 40)), cells=number).write_h5ad(path)
        tracemalloc.start()
        biolm.impute(path, genes=genes, block_rows=500, output=tmp_path / f"out{number}.h5ad")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The first job fills caches. All values of the last are 16 MB more than of the one before.
    assert peaks[2] - peaks[1] < 6e6
