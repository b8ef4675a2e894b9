"""Factors joined with components of one data set: what is in them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix

import biolm
from biolm.errors import ConfigError, GeneMatchError, InputError
from biolm.scoring.quality import fit_pca


def direction(part: np.ndarray) -> np.ndarray:
    return part / np.linalg.norm(part)


def test_adapted_vectors_hold_components_factors_and_text(shipped_cells: Path) -> None:
    file = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    found = biolm.embed(file, model="cellfactors", adapt=True)
    assert "X_cellfactors" not in found.obsm
    vectors = found.obsm["X_cellfactors_adapted"].astype(np.float64)
    assert vectors.shape == (700, 20 + 112)
    parts = vectors[:, :20], vectors[:, 20:84], vectors[:, 84:]
    lengths = [((part - part.mean(0)) ** 2).sum(1).mean() for part in parts]
    np.testing.assert_allclose(lengths, [1, 0.25, 0.25], rtol=1e-3)
    np.testing.assert_allclose(direction(parts[0]), direction(fit_pca(found.X)(found.X)), atol=1e-4)
    alone = biolm.embed(file, model="cellfactors").obsm["X_cellfactors"]
    np.testing.assert_allclose(direction(parts[1]), direction(alone[:, :64]), atol=1e-4)
    np.testing.assert_allclose(direction(parts[2]), direction(alone[:, 64:]), atol=1e-4)
    record = found.uns["biolm"]["X_cellfactors_adapted"]
    assert record["checkpoint"]["comparable"] == "never with the vectors of another file"


def test_adapting_in_blocks_and_to_a_file_is_the_same(shipped_cells: Path, tmp_path: Path) -> None:
    file = shipped_cells / "pbmc_cite_10k.h5ad"
    biolm.embed(file, model="cellfactors", adapt=True, block_rows=37, output=tmp_path / "out.h5ad")
    whole = biolm.embed(file, model="cellfactors", adapt=True).obsm["X_cellfactors_adapted"]
    parts = anndata.read_h5ad(tmp_path / "out.h5ad").obsm["X_cellfactors_adapted"]
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_adapted_is_refused(shipped_cells: Path) -> None:
    cells = anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad")
    with pytest.raises(InputError, match="of 99 cells say little, and adapting needs 100"):
        biolm.embed(cells[:99].copy(), model="cellfactors", adapt=True)
    assert biolm.embed(cells[:100].copy(), model="cellfactors", adapt=True).n_obs == 100
    with pytest.raises(ConfigError, match="genetext cannot be adapted to a data set"):
        biolm.embed(cells, model="genetext", adapt=True)


@pytest.mark.parametrize("value", [0, 2])
def test_cells_that_do_not_differ_are_refused(shipped_cells: Path, value: int) -> None:
    cells = anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad")[:100, :500].copy()
    cells.X = csr_matrix(np.full(cells.shape, value, np.float32))
    with pytest.raises(InputError, match="do not differ in any gene"):
        biolm.embed(cells, model="cellfactors", adapt=True)


def test_a_panel_of_one_gene_is_refused(shipped_cells: Path) -> None:
    cells = anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad")
    cells = cells[:, cells.var_names == "CD3D"].copy()
    with pytest.raises(GeneMatchError, match="needs 30"):
        biolm.embed(cells, model="cellfactors", adapt=True)
