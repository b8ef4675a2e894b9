"""The species can be given where names mislead, and compiled layers give the same vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import biolm
from biolm.errors import ConfigError


def test_species_can_be_given(shipped_cells: Path, tmp_path: Path) -> None:
    cells = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    told = biolm.embed(cells, output=tmp_path / "told.npy")
    given = biolm.embed(cells, output=tmp_path / "given.npy", species="human")
    np.testing.assert_array_equal(np.load(told), np.load(given))
    with pytest.raises(ConfigError, match="rat"):
        biolm.embed(cells, output=tmp_path / "rat.npy", species="rat")
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == ["given.npy", "told.npy"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_compiled_layers_give_the_same_vectors(goldens: Path, tmp_path: Path) -> None:
    cells, model = goldens / "scgpt" / "embed_cells_no_ties.h5ad", goldens / "scgpt" / "checkpoint"
    options = {"model": model, "device": "cpu", "allow_normalised": True}
    plain = biolm.embed(cells, output=tmp_path / "plain.npy", **options)
    compiled = biolm.embed(cells, output=tmp_path / "compiled.npy", compile=True, **options)
    np.testing.assert_allclose(np.load(compiled), np.load(plain), atol=1e-5)
