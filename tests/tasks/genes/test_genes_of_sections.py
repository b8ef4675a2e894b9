"""Folders of sections where cells are read for their genes, attention and perturbations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from token_model import make_cells, make_model

from biolm.tasks.attention.cells import FIGURES, attention_of_cells
from biolm.tasks.genes.attention import attention_network
from biolm.tasks.genes.vectors import contextual
from biolm.tasks.perturb.run import perturb


@pytest.fixture
def section(tmp_path: Path) -> tuple[Path, Any]:
    """A folder of the arrays before Visium, and the same spots as an AnnData."""
    adata = make_cells(60)
    row, col = np.divmod(np.arange(60), 10)
    adata.obs_names = [f"{x}x{y}" for x, y in zip(col, row, strict=True)]
    folder = tmp_path / "array"
    folder.mkdir()
    counts = pd.DataFrame(adata.X.toarray(), index=adata.obs_names, columns=adata.var_names)
    counts.to_csv(folder / "counts.tsv", sep="\t")
    spots = pd.DataFrame({"x": col, "y": row, "pixel_x": col * 50.0, "pixel_y": row * 50.0})
    spots["kind"] = ["a", "b"] * 30
    spots.to_csv(folder / "spots.tsv", sep="\t", index=False)
    adata.obs["kind"] = spots["kind"].to_numpy()
    return folder, adata


def test_what_is_read_of_a_folder_is_what_is_read_of_its_table(section: tuple[Path, Any]) -> None:
    options: dict[str, Any] = {"model": make_model(), "device": "cpu"}
    vectors = [contextual(data, group="kind", **options) for data in section]
    np.testing.assert_allclose(vectors[0].vectors, vectors[1].vectors, rtol=1e-5, atol=1e-6)
    profiles = [attention_of_cells(data, cells=10, **options) for data in section]
    for name in FIGURES:
        np.testing.assert_allclose(profiles[0].figures[name], profiles[1].figures[name], rtol=1e-5)
    pairs = [attention_network(data, k=2, cells=60, max_fdr=1, **options) for data in section]
    assert (pairs[0].columns["gene"] == pairs[1].columns["gene"]).all()
    shifts = [perturb(data, delete=["gene1"], controls=2, minimum_cells=5, **options) for data in section]
    np.testing.assert_allclose(shifts[0].columns["shift"], shifts[1].columns["shift"], rtol=1e-4)
