"""Tahoe-x1: held against a forward pass written out in float64, its bins, its folder, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_systems
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.special import erf

import biolm
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells import open_cells
from biolm.io.cells.block import CellBlock

TOLERANCE = 2e-5
Array = NDArray[np.float64]


def _bins(counts: NDArray[np.float32]) -> Array:
    """Number of the 50 quantiles, by linear interpolation, that lie below a count, plus 1."""
    return 1.0 + np.array([(np.quantile(counts, np.linspace(0, 1, 50)) < x - 1e-4).sum() for x in counts])


def _norm(x: Array, weights: dict[str, Array], name: str) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _linear(x: Array, weights: dict[str, Array], name: str) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def reference(
    ids: NDArray[np.int32], values: Array, weights: dict[str, Array], settings: dict[str, Any], **wrong: bool
) -> Array:
    """A cell's vector, one step of the published description a line."""

    def act(x: Array, name: str) -> Array:
        return np.maximum(x, 0) if name == "relu" else x * (1 + erf(x / np.sqrt(2))) / 2

    encoder, heads = settings["expression_encoder"], settings["n_heads"]
    x = _norm(weights["gene_encoder.embedding.weight"][ids], weights, "gene_encoder.enc_norm")
    value = _linear(np.minimum(values, encoder["max_value"])[:, None], weights, "expression_encoder.linear1")
    value = _linear(act(value, encoder["activation"]), weights, "expression_encoder.linear2")
    x = x + _norm(value, weights, "expression_encoder.norm")
    for number in range(settings["n_layers"]):
        layer = f"transformer_encoder.layers.{number}"
        fused = _linear(_norm(x, weights, f"{layer}.norm1"), weights, f"{layer}.self_attn.Wqkv")
        q, k, v = (part.reshape(len(x), heads, -1).swapaxes(0, 1) for part in np.split(fused, 3, axis=1))
        scores = np.exp(q @ k.swapaxes(1, 2) / (1 if wrong.get("unscaled") else np.sqrt(q.shape[2])))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        x = x + _linear(mixed.swapaxes(0, 1).reshape(len(x), -1), weights, f"{layer}.self_attn.out_proj")
        y = _norm(x, weights, f"{layer}.norm2")
        hidden = _linear(y, weights, f"{layer}.up_proj")
        name = "gelu" if wrong.get("gelu") else settings["transformer_activation"]
        if settings.get("use_glu"):
            hidden = act(_linear(y, weights, f"{layer}.gate_proj"), name) * hidden
        else:
            hidden = act(hidden, name)
        x = x + _linear(hidden, weights, f"{layer}.down_proj")
    first = x[0] if wrong.get("no final norm") else _norm(x, weights, "transformer_encoder.norm")[0]
    return first / np.linalg.norm(first)


def _weights(folder: Path) -> dict[str, Array]:
    held = load_file(folder / "model.safetensors")
    return {name.removeprefix("model."): tensor.double().numpy() for name, tensor in held.items()}


@pytest.mark.parametrize(
    "settings",
    [{}, {"transformer_activation": "gelu", "use_glu": True,
          "expression_encoder": {"activation": "gelu", "max_value": 20, "use_norm": True}}],
    ids=["70m", "gated"],
)  # fmt: skip
def test_equals_the_forward_pass_in_float64(
    tmp_path: Path, shipped_cells: Path, settings: dict[str, Any]
) -> None:
    small_systems.tahoe(tmp_path, **settings)
    model, weights = biolm.load(tmp_path), _weights(tmp_path)
    whole = {**small_systems.TAHOE, **settings}
    path = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    found = biolm.embed(path, model=model, device="cpu", match="published").obsm["X_tahoe"]
    with open_cells(path) as source:
        match = model.vocabulary.match(source.gene_columns(), column="ensembl_id")
        block = next(source.blocks(3))
    tokens = model.tokenize(block, match)
    for cell in range(3):
        span = slice(block.indptr[cell], block.indptr[cell + 1])
        genes, counts = match.target[block.indices[span]], block.data[span].astype(np.float32)
        genes, counts = genes[genes >= 0], counts[genes >= 0]
        ids = np.concatenate([[1], genes + 3])
        # The place of the drug among the first two tokens is the first gene's, whose count is not binned.
        values = np.concatenate([[-2], counts[:1], _bins(counts[1:])])
        assert tokens[cell].ids.tolist() == ids.tolist()
        assert tokens[cell].values.tolist() == values.tolist()
        right = reference(ids, values, weights, whole)
        assert np.abs(found[cell] - right).max() < TOLERANCE * np.abs(right).max()
        for wrong in ("unscaled", "gelu", "no final norm"):
            if wrong == "gelu" and settings:
                continue
            other = reference(ids, values, weights, whole, **{wrong: True})
            assert np.abs(other - right).max() > 1e-3, wrong


def test_bins_by_hand(tmp_path: Path) -> None:
    small_systems.tahoe(tmp_path)
    model = biolm.load(tmp_path, first="binned")
    counts = np.array([1, 1, 1, 2, 5, 9, 9, 30], np.float32)
    block = CellBlock(0, counts, np.arange(8, dtype=np.int32), np.array([0, 8]), len(model.vocabulary))
    match = model.vocabulary.match({"index": np.array(model.vocabulary.genes)})
    values = model.tokenize(block, match)[0].values
    # Tied counts share the lowest of their bins: nothing is drawn.
    assert values.tolist() == [-2, *_bins(counts)]
    assert values[1:4].tolist() == [1, 1, 1]
    assert values[-1] == 50
    published = biolm.load(tmp_path).tokenize(block, match)[0].values
    assert published.tolist() == [-2, 1, *_bins(counts[1:])]


def test_refusals(tmp_path: Path) -> None:
    small_systems.tahoe(tmp_path)
    with pytest.raises(ConfigError, match="first must be one of published, binned"):
        biolm.load(tmp_path, first="other")
    with pytest.raises(ConfigError, match="max_length must be a whole number from 2"):
        biolm.load(f"{tmp_path}?max_length=1")

    def refused(name: str, error: type[Exception], match: str, **fields: Any) -> None:
        path = tmp_path / name
        before = path.read_text()
        path.write_text(json.dumps(json.loads(before) | fields))
        with pytest.raises(error, match=match):
            biolm.load(tmp_path)
        path.write_text(before)

    refused("collator_config.yml", ConfigError, "only binned counts", do_binning=False)
    refused("model_config.yml", ConfigError, "post-norm or further gene embeddings", norm_scheme="post")
    refused("model_config.yml", ConfigError, "without norms", gene_encoder={})
    refused("model_config.yml", CheckpointError, "missing", n_layers=3)
    refused("vocab.json", CheckpointError, "goes up to 999 but model.safetensors knows 0 to 302", ENSG0=999)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {"model.surprise": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="surprise"):
        biolm.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        biolm.load(tmp_path)
    (tmp_path / "model_config.yml").write_text("a: [")
    with pytest.raises(CheckpointError, match="not valid YAML"):
        biolm.load(tmp_path)
