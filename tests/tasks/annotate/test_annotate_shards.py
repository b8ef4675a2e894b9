"""Names of cells made in shards are those of the whole job, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

import biolm
from biolm.errors import BiolmError, ConfigError, InputError
from biolm.tasks.annotate.naming import RowPrediction
from biolm.tasks.annotate.predict import predict_file
from biolm.tasks.annotate.settings import PredictSettings

BLOCK = 8


@pytest.fixture(scope="module")
def folder(kinds: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("annotator") / "made"
    biolm.annotate.fit(kinds, label="kind", output=output)
    return output


@pytest.fixture(scope="module")
def cells(query: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "query.h5ad"
    query.write_h5ad(path)
    return path


def _predicted(cells: Path, output: Path, folder: Path, **options: Any) -> Path:
    predict_file(cells, output, folder, PredictSettings(block_rows=BLOCK, **options))
    return output


def _parts(cells: Path, where: Path, folder: Path, count: int) -> list[Path]:
    where.mkdir()
    return [
        _predicted(cells, where / f"p{n}", folder, shard=f"{n}/{count}", key="named")
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_names_are_those_of_the_whole_job(cells: Path, folder: Path, tmp_path: Path, count: int) -> None:
    whole = _predicted(cells, tmp_path / "whole.h5ad", folder, key="named")
    parts = _parts(cells, tmp_path / "parts", folder, count)
    made = biolm.merge(parts[::-1], tmp_path / "made.h5ad")
    assert made.read_bytes() == whole.read_bytes()
    named = anndata.read_h5ad(made)
    assert "named_confidence" in named.obs
    assert "factors" in named.uns["biolm"]["named"]["novelty"]["reads"]
    assert np.isfinite(named.obs["named_novelty"]).all()
    with pytest.raises(ConfigError, match="h5ad or zarr, not as npy"):
        biolm.merge(parts, tmp_path / "made.npy")


def test_what_changed_since_is_told(cells: Path, folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "annotator"
    shutil.copytree(folder, moved)
    first, second = _parts(cells, tmp_path / "parts", moved, 2)
    with pytest.raises(InputError, match="missing: shard 2/2"):
        biolm.merge([first], tmp_path / "x.h5ad")
    other = _predicted(cells, tmp_path / "other", moved, shard="2/2", key="else")
    with pytest.raises(InputError, match="another job"):
        biolm.merge([first, other], tmp_path / "x.h5ad")
    block = min(second.glob("*.block"))
    whole = block.read_bytes()
    block.write_bytes(b"")
    with pytest.raises(InputError, match="is missing or damaged; make the shard"):
        biolm.merge([first, second], tmp_path / "x.h5ad")
    block.write_bytes(whole)
    shutil.rmtree(moved)
    with pytest.raises(BiolmError, match="holds no annotator"):
        biolm.merge([first, second], tmp_path / "x.h5ad")
    with pytest.raises(ConfigError, match="a shard is a folder"):
        _predicted(cells, tmp_path / "y.h5ad", folder, shard="1/2")
    assert not list(tmp_path.glob("*.h5ad"))


def test_a_resumed_job_gives_the_same_bytes(
    cells: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _predicted(cells, tmp_path / "whole.h5ad", folder)
    compute, calls = RowPrediction.compute, []

    def dying(self: RowPrediction, block: Any) -> Any:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(block)
        return compute(self, block)

    monkeypatch.setattr(RowPrediction, "compute", dying)
    with pytest.raises(KeyboardInterrupt):
        _predicted(cells, tmp_path / "part.h5ad", folder)
    monkeypatch.setattr(RowPrediction, "compute", compute)
    part = _predicted(cells, tmp_path / "part.h5ad", folder, resume=True)
    assert part.read_bytes() == whole.read_bytes()
