"""Folders of sections are embedded, sharded, resumed and merged as cells are, and keep their places."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata
import numpy as np
import pytest

import biolm
from biolm.errors import ConfigError, InputError
from biolm.io.cells import CellBlock
from biolm.io.spatial import open_section
from biolm.jobs.cells import CellEmbedding
from biolm.jobs.modality import modality_of

FOLDERS = ("visiumio_v1_brain50/outs", "sfe_xenium_toy", "sfe_cosmx_toy", "sfe_merscope_toy")


@pytest.fixture
def outs(shared: Path) -> Path:
    return shared / "data/spatial/visiumio_v1_brain50/outs"


def test_folders_of_sections_are_told_from_tables_of_cells(shared: Path, tmp_path: Path) -> None:
    for name in FOLDERS:
        assert modality_of(shared / "data/spatial" / name).name == "sections", name
    with open_section(shared / "data/spatial" / FOLDERS[0]) as section:
        adata = section.to_anndata()
    biolm.embed(
        shared / "data/spatial" / FOLDERS[0], model="genetext", output=tmp_path / "x.zarr", minimum_match=0
    )
    for other in (tmp_path / "x.zarr", tmp_path / "x.h5ad", tmp_path, tmp_path / "missing", adata):
        assert modality_of(other).name == "cells"


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_a_section_is_written_with_its_places(outs: Path, tmp_path: Path, form: str) -> None:
    target = tmp_path / f"x.{form}"
    biolm.embed(outs, model="genetext", output=target, minimum_match=0)
    found = anndata.read_h5ad(target) if form == "h5ad" else anndata.read_zarr(target)
    held = biolm.embed(outs, model="genetext", minimum_match=0)
    with open_section(outs) as section:
        for table in (found, held):
            assert table.obs_names.tolist() == section.names.tolist()
            assert (table.obsm["spatial"] == section.xy).all()
            assert (section.counts() != table.X).nnz == 0
            assert (table.obs["array_row"] == section.columns["array_row"]).all()
        plain = biolm.embed(section.to_anndata(), model="genetext", minimum_match=0)
    for table in (found, held):
        np.testing.assert_allclose(table.obsm["X_genetext"], plain.obsm["X_genetext"], rtol=1e-5, atol=1e-6)
    assert np.abs(plain.obsm["X_genetext"]).sum() > 0


def test_shards_and_a_resumed_job_give_the_bytes_of_the_whole(
    outs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"model": "genetext", "minimum_match": 0, "block_rows": 8}
    biolm.embed(outs, output=tmp_path / "whole.h5ad", **options)
    for number in (1, 2, 3):
        biolm.embed(outs, output=tmp_path / f"s{number}", shard=f"{number}/3", **options)
    biolm.merge([tmp_path / f"s{n}" for n in (1, 2, 3)], tmp_path / "merged.h5ad")
    assert (tmp_path / "merged.h5ad").read_bytes() == (tmp_path / "whole.h5ad").read_bytes()
    plain, done = CellEmbedding.compute, []

    def broken(self: CellEmbedding, block: CellBlock) -> dict[str, np.ndarray]:
        done.append(len(block))
        if len(done) == 3:
            raise KeyboardInterrupt
        return plain(self, block)

    monkeypatch.setattr(CellEmbedding, "compute", broken)
    with pytest.raises(KeyboardInterrupt):
        biolm.embed(outs, output=tmp_path / "part.h5ad", **options)
    biolm.embed(outs, output=tmp_path / "part.h5ad", resume=True, **options)
    with open_section(outs) as section:
        assert sum(done) == len(section) + done[2]
    assert (tmp_path / "part.h5ad").read_bytes() == (tmp_path / "whole.h5ad").read_bytes()


def test_vectors_of_a_second_model_enter_the_table_of_the_first(outs: Path, tmp_path: Path) -> None:
    """As the embed workflow does: every model reads the folder, each merge adds to the last table."""
    options = {"model": "genetext", "minimum_match": 0}
    first = biolm.embed(outs, output=tmp_path / "first.h5ad", **options)
    parts = [
        biolm.embed(outs, output=tmp_path / f"s{n}", shard=f"{n}/2", key="X_again", block_rows=8, **options)
        for n in (1, 2)
    ]
    both = anndata.read_h5ad(biolm.merge(parts, tmp_path / "both.h5ad", data=first))
    np.testing.assert_allclose(both.obsm["X_again"], both.obsm["X_genetext"], rtol=1e-5, atol=1e-6)
    assert (both.obsm["spatial"] == anndata.read_h5ad(first).obsm["spatial"]).all()


def test_positions_that_changed_since_the_shards_were_made_are_refused(outs: Path, tmp_path: Path) -> None:
    own = tmp_path / "outs"
    shutil.copytree(outs, own)
    for number in (1, 2):
        options = {"model": "genetext", "minimum_match": 0, "block_rows": 8}
        biolm.embed(own, output=tmp_path / f"s{number}", shard=f"{number}/2", **options)
    (table,) = own.glob("spatial/*tissue_positions*")
    table.chmod(0o644)
    rows = table.read_text().splitlines()
    table.write_text("\n".join(row[:-1] + str((int(row[-1]) + 1) % 10) for row in rows) + "\n")
    with pytest.raises(InputError, match="places differ"):
        biolm.merge([tmp_path / "s1", tmp_path / "s2"], tmp_path / "x.h5ad")
    assert not (tmp_path / "x.h5ad").exists()


def test_options_of_tables_are_refused(outs: Path) -> None:
    with pytest.raises(ConfigError, match="transpose"):
        biolm.embed(outs, transpose=True)
    with pytest.raises(InputError, match="filtered and a raw"):
        biolm.embed(outs, layer="spliced")
    with pytest.raises(ConfigError, match="another key"):
        biolm.embed(outs, model="genetext", key="spatial", minimum_match=0)
