"""One set of questions to every published system of cells that has a recorded folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import biolm
from biolm.errors import InputError
from biolm.models.model import CellModel
from biolm.tasks.embed import embed

CELLS, FOREIGN = 7, 9
EMPTY, ONE = 3, 5


def _copied(goldens: Path, name: str, made: Path) -> Path:
    shutil.copytree(goldens / name, made, dirs_exist_ok=True)
    return made


def _celllm(goldens: Path, made: Path) -> str:
    folder = _copied(goldens, "celllm", made)
    (folder / "genes.txt").write_text("\n".join(f"GENE{i}" for i in range(150)))
    return str(folder)


def _nicheformer(goldens: Path, made: Path) -> str:
    folder, golden = made, goldens / "nicheformer"
    shutil.copyfile(golden / "nicheformer.ckpt", folder / "nicheformer.ckpt")
    genes = anndata.read_h5ad(golden / "cells.h5ad").var_names
    (folder / "genes.txt").write_text("\n".join(genes))
    np.save(folder / "dissociated_mean_script.npy", np.load(golden / "tokenisation.npz")["dissociated/mean"])
    return f"{folder}?specie=human&assay=10x 3' v3&modality=dissociated"


SYSTEMS: dict[str, Callable[[Path, Path], str]] = {
    "tgpt": lambda goldens, made: str(_copied(goldens, "tgpt", made)),
    "scimilarity": lambda goldens, made: str(_copied(goldens, "scimilarity", made)),
    "nicheformer": _nicheformer,
    "scbert": lambda goldens, made: str(_copied(goldens, "scbert", made)),
    "celllm": _celllm,
    "scfoundation": lambda goldens, made: str(_copied(goldens, "scfoundation", made)),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def asked(
    request: pytest.FixtureRequest, goldens: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, CellModel, anndata.AnnData]:
    """What a user types for a system, the system, and cells of its genes and some others."""
    address = SYSTEMS[request.param](goldens, tmp_path_factory.mktemp(request.param))
    model = biolm.load(address)
    assert isinstance(model, CellModel)
    return address, model, _cells(model.vocabulary.genes)


def _cells(genes: tuple[str, ...]) -> anndata.AnnData:
    """Counts that differ within a cell, so nothing is left to ties; one cell is empty, one of one gene."""
    rng = np.random.default_rng(0)
    names = [*genes, *(f"FOREIGN{i}" for i in range(FOREIGN))]
    counts = np.zeros((CELLS, len(names)), np.float32)
    for cell in range(CELLS):
        some = rng.permutation(len(names))[: 20 + 10 * cell]
        counts[cell, some] = rng.permutation(len(some)) + 1
    counts[EMPTY] = 0
    counts[ONE] = 0
    counts[ONE, 4] = 3
    adata = anndata.AnnData(counts)
    adata.var_names = names
    return adata


def _vectors(model: CellModel, adata: anndata.AnnData, **options: object) -> NDArray[np.float32]:
    made = embed(adata, model=model, device="cpu", copy=True, **options)
    return np.asarray(made.obsm[f"X_{model.name}"])


def _alike(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    return bool(np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max())


def test_alone_or_in_company_in_any_order(asked: tuple[str, CellModel, anndata.AnnData]) -> None:
    _, model, cells = asked
    whole = _vectors(model, cells)
    assert whole.shape == (CELLS, model.width)
    order = np.random.default_rng(1).permutation(CELLS)
    assert _alike(_vectors(model, cells[order].copy()), whole[order])
    for cell in (0, 2, ONE):
        assert _alike(_vectors(model, cells[[cell]].copy()), whole[[cell]])
    distinct = np.abs(whole[0] - whole[1]).max()
    assert distinct > 1e-3


def test_blocks_and_batches_of_other_sizes(asked: tuple[str, CellModel, anndata.AnnData]) -> None:
    _, model, cells = asked
    whole = _vectors(model, cells)
    for options in ({"block_rows": 2}, {"batch_tokens": 60}, {"batch_tokens": 100_000}, {"seed": 7}):
        assert _alike(_vectors(model, cells, **options), whole), options


def test_other_numbers_and_other_columns(asked: tuple[str, CellModel, anndata.AnnData]) -> None:
    _, model, cells = asked
    whole = _vectors(model, cells)
    for kind in (np.float64, np.int32, np.uint8):
        other = cells.copy()
        other.X = other.X.astype(kind)
        assert _alike(_vectors(model, other), whole), kind
    order = np.random.default_rng(2).permutation(cells.n_vars)
    assert _alike(_vectors(model, cells[:, order].copy()), whole)


def test_empty_cells_and_cells_of_one_gene(asked: tuple[str, CellModel, anndata.AnnData]) -> None:
    _, model, cells = asked
    made = embed(cells, model=model, device="cpu", copy=True)
    vectors = np.asarray(made.obsm[f"X_{model.name}"])
    assert not vectors[EMPTY].any()
    assert made.obs[f"X_{model.name}_empty"].to_numpy().tolist() == [i == EMPTY for i in range(CELLS)]
    assert np.isfinite(vectors).all()
    assert vectors[ONE].any()


def test_normalised_values_are_refused_where_counts_are_wanted(
    asked: tuple[str, CellModel, anndata.AnnData],
) -> None:
    _, model, cells = asked
    logged = cells.copy()
    logged.X = np.log1p(logged.X / np.maximum(logged.X.sum(1, keepdims=True), 1) * 1e4)
    if model.wants_counts:
        with pytest.raises(InputError, match="counts"):
            _vectors(model, logged)
    else:
        assert _alike(_vectors(model, logged), _vectors(model, cells))


def test_by_command(asked: tuple[str, CellModel, anndata.AnnData], tmp_path: Path) -> None:
    from biolm.cli.main import app

    address, model, cells = asked
    cells.write_h5ad(tmp_path / "cells.h5ad")
    output = tmp_path / "embedded.h5ad"
    run = CliRunner().invoke(
        app, ["embed", str(tmp_path / "cells.h5ad"), "-m", address, "-o", str(output), "--device", "cpu"]
    )
    assert run.exit_code == 0, run.output
    made = anndata.read_h5ad(output)
    assert _alike(np.asarray(made.obsm[f"X_{model.name}"]), _vectors(model, cells))
    assert made.uns["biolm"][f"X_{model.name}"]["checkpoint"]["sha256"]
