"""scTrans: recorded results, its folder, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import small_systems
import torch
from perturb import relative
from safetensors.torch import load_file

import biolm
from biolm.batch import Batch
from biolm.errors import CheckpointError, ConfigError
from biolm.models.systems import sctrans

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def wanted(goldens: Path) -> dict[str, torch.Tensor]:
    return load_file(goldens / "sctrans" / "io.safetensors")


def _batch(wanted: dict[str, torch.Tensor], name: str = "feature_idx") -> Batch:
    return Batch.from_padded(wanted[name], wanted[name] != 0, values=wanted["feature_val"])


@torch.inference_mode()
def test_recorded_encodings(goldens: Path, wanted: dict[str, torch.Tensor]) -> None:
    network = sctrans.read_network(goldens / "sctrans" / "pretrained.pth")
    keep = wanted["feature_idx"] != 0
    encodings, weights = network(_batch(wanted))
    assert relative(encodings, wanted["encoding"][:, 0]) < TOLERANCE
    assert relative(weights[-1][:, 0], wanted["attention"][:, 0][keep]) < TOLERANCE
    assert relative(network.projection_head(encodings), wanted["projection"][:, 0]) < TOLERANCE
    masked = network(_batch(wanted, "feature_idx_masked"))[0]
    assert relative(masked, wanted["encoding_masked"][:, 0]) < TOLERANCE
    tuned = sctrans.read_network(goldens / "sctrans" / "classifier.pth")
    assert relative(tuned.classify(tuned(_batch(wanted))[0]), wanted["logits"]) < TOLERANCE
    with pytest.raises(ConfigError, match="no classifier"):
        network.classify(encodings)


def test_recorded_losses(wanted: dict[str, torch.Tensor]) -> None:
    views = wanted["projection"][:, 0], wanted["projection_masked"][:, 0]
    assert relative(sctrans.nt_xent(*views, 0.1), wanted["ntxent_t01"][0]) < TOLERANCE
    encodings = wanted["encoding"][:, 0], wanted["encoding_masked"][:, 0]
    assert relative(sctrans.nt_xent(*encodings, 0.5), wanted["ntxent_t05_on_encodings"][0]) < TOLERANCE
    assert relative(sctrans.nt_xent(*views, 0.2), wanted["ntxent_t01"][0]) > 1e-3
    for name, smoothing in (("0", 0.0), ("01", 0.1)):
        loss = sctrans.smoothed_loss(wanted["logits"], wanted["targets"], smoothing)
        assert relative(loss, wanted[f"label_smoothing_loss_{name}"][0]) < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("detail", ["heads", "query row", "scaled values"])
def test_each_detail_matters(
    goldens: Path, wanted: dict[str, torch.Tensor], detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if detail == "query row":
        monkeypatch.setattr(sctrans, "_QUERY", 2)
    batch = _batch(wanted)
    if detail == "scaled values":
        batch = Batch.from_padded(
            wanted["feature_idx"], wanted["feature_idx"] != 0, values=wanted["feature_val"].log1p()
        )
    network = sctrans.read_network(goldens / "sctrans" / "pretrained.pth", 2 if detail == "heads" else 1)
    assert relative(network(batch)[0], wanted["encoding"][:, 0]) > 1e-3


@pytest.fixture
def folder(goldens: Path, tmp_path: Path) -> Path:
    small_systems.sctrans(tmp_path, goldens)
    return tmp_path


def test_cells_of_a_file_to_vectors(folder: Path, shipped_cells: Path, tmp_path: Path) -> None:
    path = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    found = biolm.embed(path, model=folder, device="cpu", match="published")
    vectors = found.obsm["X_sctrans"]
    assert found.uns["biolm"]["X_sctrans"]["checkpoint"]["heads"] == 1
    again = biolm.embed(path, model=f"{folder}?heads=1", device="cpu", match="published", batch_tokens=500)
    np.testing.assert_allclose(again.obsm["X_sctrans"], vectors, atol=1e-4)
    # By hand: counts over their mean, in the file's order.
    model = biolm.load(folder)
    counts = found.X[0].toarray().ravel()
    rows = {name: row for row, name in enumerate(model.vocabulary.genes)}
    kept = [
        (rows[n.upper()], x) for n, x in zip(found.var_names, counts, strict=True) if x and n.upper() in rows
    ]
    ids = torch.tensor([[row + 2 for row, _ in kept]])
    values = torch.tensor([[x for _, x in kept]]).float()
    with torch.inference_mode():
        by_hand = model.network(Batch.from_padded(ids, values=values / values.mean()))[0]
    assert relative(torch.from_numpy(vectors[:1]), by_hand) < TOLERANCE


def test_refusals(folder: Path, shipped_cells: Path) -> None:
    with pytest.raises(ConfigError, match="model sctrans has no option padding; it has heads"):
        biolm.load(f"{folder}?padding=x")
    with pytest.raises(ConfigError, match="heads 5 do not divide"):
        biolm.load(f"{folder}?heads=5")
    path = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    with pytest.raises(ConfigError, match="leave the hidden state out"):
        biolm.embed(path, model=folder, device="cpu", hidden_state=1)
    weights = torch.load(folder / "pretrained_model.pth", weights_only=True)["model"]
    torch.save({"model": weights | {"surprise": torch.ones(1)}}, folder / "pretrained_model.pth")
    with pytest.raises(CheckpointError, match="unexpected surprise"):
        biolm.load(folder)
    (folder / "reference_word_dic.pk").write_bytes(pickle.dumps({"[cls]": 1, "cd3d": 999}))
    torch.save({"model": weights}, folder / "pretrained_model.pth")
    with pytest.raises(CheckpointError, match="goes up to 999"):
        biolm.load(folder)
    (folder / "reference_word_dic.pk").write_bytes(pickle.dumps(Path))
    with pytest.raises(CheckpointError, match="could run code"):
        biolm.load(folder)
