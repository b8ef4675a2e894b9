"""Fits of factor models: what they find, that they repeat, and what they refuse."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app
from biolm.errors import ConfigError, GeneMatchError, InputError, OutputError
from biolm.models.systems.cellfactors import FILE, load
from biolm.tasks.factors.em import FactorSet, fit_factors
from biolm.tasks.factors.fit import fit_to_files, fit_to_folder
from biolm.tasks.factors.settings import FitSettings

SMALL = FitSettings(factors=6, cells=80, genes=500, rounds=3)


@pytest.fixture
def files(shipped_cells: Path) -> list[Path]:
    return sorted(shipped_cells.glob("*.h5ad"))


def sets_of(blocks: list[tuple[np.ndarray, np.ndarray]]) -> list[FactorSet]:
    return [
        FactorSet(lambda cells=cells: csr_matrix(cells), genes, cells.mean(0), cells.var(0))
        for genes, cells in blocks
    ]


def test_loadings_are_found_over_sets_that_measured_different_genes() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(60, 3))
    blocks = []
    for genes in (np.arange(40), np.arange(20, 60), np.r_[0:10, 50:60]):
        latent = rng.normal(size=(500, 3))
        noise = 0.3 * rng.normal(size=(500, len(genes)))
        blocks.append((genes, latent @ true[genes].T + noise + rng.normal(size=len(genes))))
    found = fit_factors(sets_of(blocks), 60, factors=3, rounds=60, seed=0)
    left = true - found.loadings @ np.linalg.lstsq(found.loadings, true)[0]
    assert np.linalg.norm(left) < 0.15 * np.linalg.norm(true)
    np.testing.assert_allclose(found.noise, 0.09, atol=0.04)
    signal = found.loadings.T @ (found.loadings / found.noise[:, None])
    np.testing.assert_allclose(signal, np.diag(np.diag(signal)), atol=1e-6 * signal.max())
    assert (np.diff(np.diag(signal)) <= 0).all()
    assert (found.loadings[np.abs(found.loadings).argmax(0), range(3)] > 0).all()


def test_a_fit_repeats_to_the_byte_and_the_seed_matters(files: list[Path], tmp_path: Path) -> None:
    names = ("a", "b", "c")
    for name, seed in zip(names, (0, 0, 1), strict=True):
        fit_to_folder(files, tmp_path / name, FitSettings(**{**vars(SMALL), "seed": seed}))
    first, second, third = ((tmp_path / name / FILE).read_bytes() for name in names)
    assert first == second != third


def test_a_fitted_folder_is_a_model_of_every_command(files: list[Path], tmp_path: Path) -> None:
    model = fit_to_folder(files, tmp_path / "mine", SMALL)
    assert model.loadings.shape == (500, 6)
    found = biolm.embed(files[0], model=tmp_path / "mine").obsm["X_cellfactors"]
    assert found.shape == (700, 6 + 48)
    with pytest.raises(OutputError, match="exists already"):
        fit_to_folder(files, tmp_path / "mine", SMALL)


def test_scales_make_factors_and_text_of_one_length(files: list[Path]) -> None:
    model = fit_to_files(files[1:], FitSettings(**{**vars(SMALL), "cells": 1000}))
    vectors = biolm.embed(files[1], model=model).obsm["X_cellfactors"].astype(np.float64)
    vectors -= vectors.mean(0)
    assert (vectors[:, :6] ** 2).sum(1).mean() == pytest.approx(1, abs=0.01)
    assert (vectors[:, 6:] ** 2).sum(1).mean() == pytest.approx(0.25, abs=0.01)


def test_files_that_share_no_gene_are_refused(files: list[Path], tmp_path: Path) -> None:
    cells = anndata.read_h5ad(files[0])
    parts = []
    for start in (0, 1):
        parts.append(tmp_path / f"{start}.h5ad")
        cells[:, start::2].copy().write_h5ad(parts[-1])
    with pytest.raises(InputError, match=r"0.h5ad shares \d of its [\d,]+ known genes with the other files"):
        fit_to_files(parts, SMALL)


def test_a_file_that_is_not_there_is_said_before_any_is_read(files: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.h5ad"
    broken.write_text("no table")
    with pytest.raises(InputError, match=r"none\.h5ad: no such file"):
        fit_to_files([broken, tmp_path / "none.h5ad"], SMALL)


@pytest.mark.parametrize("again", ["the same name", "a symbolic link", "a hard link"])
def test_a_file_that_is_named_twice_is_refused(files: list[Path], tmp_path: Path, again: str) -> None:
    first = tmp_path / "cells.h5ad"
    shutil.copyfile(files[0], first)
    second = tmp_path / "other.h5ad"
    if again == "a symbolic link":
        second.symlink_to(first)
    elif again == "a hard link":
        second.hardlink_to(first)
    else:
        second = first
    with pytest.raises(InputError, match=r"cells\.h5ad once more, and its cells would count twice"):
        fit_to_files([first, second], SMALL)


def test_more_factors_than_cells_are_refused(files: list[Path], tmp_path: Path) -> None:
    cells = anndata.read_h5ad(files[0])[:60].copy()
    cells.write_h5ad(tmp_path / "few.h5ad")
    with pytest.raises(InputError, match="60 cells cannot tell 60 factors apart"):
        fit_to_files([tmp_path / "few.h5ad"], FitSettings(factors=60))


def test_a_rule_of_published_models_is_no_choice_of_a_fit(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`match` is not used for cells here"):
        fit_to_files(files, FitSettings(match="published"))
    run = CliRunner().invoke(app, ["fit-factors", str(files[0]), "-o", str(tmp_path), "--match", "published"])
    assert run.exit_code == 2, run.output
    assert "No such option" in run.output


def test_a_file_without_counts_is_refused(files: list[Path], tmp_path: Path) -> None:
    cells = anndata.read_h5ad(files[0])[:20].copy()
    cells.X = csr_matrix(cells.shape, dtype=np.float32)
    cells.write_h5ad(tmp_path / "empty.h5ad")
    with pytest.raises(InputError, match="leave it out"):
        fit_to_files([tmp_path / "empty.h5ad"], SMALL)


def test_the_command_fits_and_says_what_it_fitted(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "mine"
    arguments = ["fit-factors", *map(str, files), "-o", str(out), "--cells", "60", "--rounds", "1"]
    ran = CliRunner().invoke(app, [*arguments, "--factors", "4", "--genes", "300"])
    assert ran.exit_code == 0, ran.output
    assert load(out).about["fit"] == "109 cells of 2 sets"


def counts_of(files: list[Path], cells: int = 120, genes: int = 765) -> anndata.AnnData:
    return anndata.read_h5ad(files[0])[:cells, :genes].copy()


def one_cell_again(cells: anndata.AnnData) -> anndata.AnnData:
    cells.X = csr_matrix(np.repeat(cells.X[:1].toarray(), cells.n_obs, 0))
    return cells


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: cells[:, :25].copy(), r"measures \d+ genes that biolm knows, and a fit needs 30"),
        (lambda cells: cells[:4].copy(), r"differ in 0 genes that 5 cells of a file or more show"),
        (one_cell_again, r"differ in \d genes"),
        (lambda cells: cells[:1].copy(), r"in fewer than two cells \(1\); leave it out"),
    ],
    ids=["few genes", "few cells", "one cell again and again", "one cell"],
)
def test_cells_that_say_too_little_are_refused(
    files: list[Path], tmp_path: Path, change, message: str
) -> None:
    cells = change(counts_of(files))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=message) as caught:
        fit_to_folder([tmp_path / "cells.h5ad"], tmp_path / "mine", FitSettings(minimum_match=0))
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cells.h5ad"]


@pytest.mark.parametrize("prefix", ["ENSRNOG", "ENSDARG"])
def test_species_without_orthologs_are_refused(files: list[Path], tmp_path: Path, prefix: str) -> None:
    cells = counts_of(files)
    cells.var = cells.var[[]]
    cells.var_names = [f"{prefix}{number:011d}" for number in range(cells.n_vars)]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    for work in (
        lambda: fit_to_files([tmp_path / "cells.h5ad"], SMALL),
        lambda: biolm.embed(cells, model="cellfactors"),
        lambda: biolm.embed(cells, model="cellfactors", adapt=True),
        lambda: biolm.impute(cells),
    ):
        with pytest.raises(GeneMatchError, match=r"the names are Ensembl ids of (rat|zebrafish)") as caught:
            work()
        assert "\n" not in str(caught.value)


def test_one_sample_is_in_memory_whatever_the_number_of_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    genes = load().vocabulary.genes[:2000]
    files = []
    for number in range(6):
        cells = anndata.AnnData(csr_matrix(rng.poisson(0.7, (300, 2000)).astype(np.float32)))
        cells.var_names, cells.obs_names = list(genes), [f"c{n}" for n in range(300)]
        files.append(tmp_path / f"{number}.h5ad")
        cells.write_h5ad(files[-1])
    peaks = []
    settings = FitSettings(factors=3, rounds=1, genes=500)
    for some in (files[:1], files[:2], files):
        tracemalloc.start()
        fit_to_files(some, settings)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The first fit fills caches. Four more samples would take four times these bytes.
    sample = 12 * cells.X.nnz
    assert peaks[2] - peaks[1] < 1.5 * sample


def test_a_fit_embeds_and_imputes_by_command(files: list[Path], tmp_path: Path) -> None:
    mine, vectors, imputed = (str(tmp_path / name) for name in ("mine", "vectors.npy", "imputed.h5ad"))
    small = ["--factors", "4", "--genes", "300", "--rounds", "1"]
    for words in (
        ["fit-factors", *map(str, files), "-o", mine, *small],
        ["embed", str(files[0]), "-m", mine, "-o", vectors],
        ["impute", str(files[0]), "-m", mine, "--genes", "all", "-o", imputed],
        ["name-factors", "-m", mine, "--top", "20", "-o", str(tmp_path / "named.tsv")],
    ):
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 0, ran.output
    assert np.load(vectors).shape == (700, 4 + 48)
    assert anndata.read_h5ad(imputed).shape == (700, 300)
