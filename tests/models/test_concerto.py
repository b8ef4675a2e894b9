"""Concerto: recorded losses, its teacher by a reference in float64, Keras weights, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import small_systems
import torch
from perturb import relative

import biolm
from biolm.batch import Batch
from biolm.errors import CheckpointError
from biolm.io.cells import open_cells
from biolm.models.systems import concerto

OUT, GENES = 10, 200


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_recorded_losses(goldens: Path, temperature: float) -> None:
    wanted = np.load(goldens / "concerto" / "ntxent.npz")
    first, second = (torch.from_numpy(wanted[name]).double() for name in ("z1", "z2"))
    loss = concerto.nt_xent(first, second, temperature)
    assert relative(loss, torch.from_numpy(wanted[f"per_example_loss_t{temperature}"])) < 1e-6
    assert relative(loss.mean(), torch.from_numpy(wanted[f"simclr_loss_t{temperature}"])) < 1e-6
    assert relative(concerto.nt_xent(first, second, temperature * 1.1), loss) > 1e-3
    assert relative(concerto.byol_loss(first, second), torch.from_numpy(wanted["byol_loss"])) < 1e-6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_systems.concerto(tmp_path)
    return tmp_path


def _reference(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The teacher on one cell, written out in float64."""
    weights = small_systems.concerto_weights(GENES)
    held = {name.split("/", 1)[1].removesuffix(":0"): x.astype(np.float64) for name, x in weights.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, var = (
            held[f"{name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(var + 1e-3) * gamma + beta

    stem = "attention_with_context/attention_with_context"
    x = held["Gene-Embedding/embeddings"][ids] * norm(values[:, None], "Gene-BN-1")
    weights = np.exp(np.tanh(x @ held[f"{stem}_W"] + held[f"{stem}_b"]) @ held[f"{stem}_u"])
    mixed = np.tanh((x * (weights / (weights.sum() + 1e-7))[:, None]).sum(0))
    out = norm(mixed, "Gene-BN-3") @ held["projection-1/kernel"] + held["projection-1/bias"]
    return np.maximum(out, 0)


def test_teacher_equals_its_reference(folder: Path, shipped_cells: Path) -> None:
    model = biolm.load(folder)
    path = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    found = biolm.embed(path, model=model, device="cpu", match="published").obsm["X_concerto"]
    with open_cells(path) as source:
        match = model.vocabulary.match(source.gene_columns(), column="index")
        block = next(source.blocks(3))
    tokens = model.tokenize(block, match)
    for cell in range(3):
        assert tokens[cell].values is not None
        right = torch.from_numpy(_reference(tokens[cell].ids, tokens[cell].values.astype(np.float64)))
        batch = Batch.from_tokens(tokens, [cell])
        with torch.inference_mode():
            assert relative(model.network(batch)[0], right) < 2e-5
            model.network.norm.eps = 0.1
            assert relative(model.network(batch)[0], right) > 1e-3
            model.network.norm.eps = 1e-3
    assert found.shape[1] == OUT


def test_refusals(folder: Path) -> None:
    path = folder / "weight_encoder_epoch3.h5"
    with h5py.File(path, "a") as file:
        file["other/other/kernel:0"] = np.zeros(1)
    with pytest.raises(CheckpointError, match="other/kernel, which is no weight of Concerto's teacher"):
        biolm.load(folder)
    with h5py.File(path, "a") as file:
        del file["other"], file["projection-1/projection-1/bias:0"]
    with pytest.raises(CheckpointError, match=r"missing dense\.bias"):
        biolm.load(folder)
    with h5py.File(path, "a") as file:
        file["projection-1/projection-1/bias:0"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(CheckpointError, match=r"a link into another file .*, which is not followed"):
        biolm.load(folder)
    path.write_bytes(b"no file")
    with pytest.raises(CheckpointError, match="no whole HDF5 file"):
        biolm.load(folder)
