"""UCE: recorded sentences and vectors, padding both ways, its folder, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_systems
import torch
from perturb import relative
from safetensors.torch import load_file

import biolm
from biolm.batch import Batch, Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.systems import uce, uce_network
from biolm.vocab.genes import GeneVocabulary

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def wanted(goldens: Path) -> dict[str, torch.Tensor]:
    return load_file(goldens / "uce" / "io.safetensors")


@pytest.fixture(scope="module")
def network(goldens: Path) -> uce_network.UceNetwork:
    return uce_network.read_network(goldens / "uce" / "model.torch", 4)


def _sentences(wanted: dict[str, torch.Tensor]) -> Tokens:
    lengths = wanted["lengths"].tolist()
    ids = np.concatenate([row[:n].numpy() for row, n in zip(wanted["tokens"], lengths, strict=True)])
    return Tokens(ids=ids.astype(np.int32), offsets=np.cumsum([0, *lengths]), index=np.arange(len(lengths)))


@torch.inference_mode()
def test_recorded_vectors(network: uce_network.UceNetwork, wanted: dict[str, torch.Tensor]) -> None:
    tokens = _sentences(wanted)
    batch = Batch.from_tokens(uce.padded(tokens))
    assert relative(network(batch), wanted["embedding"]) < TOLERANCE
    states = network.states(batch).unflatten(0, (6, -1)).transpose(0, 1)
    assert relative(states, wanted["transformer_output"]) < TOLERANCE
    masked = network(Batch.from_tokens(tokens))
    assert relative(masked, wanted["embedding_with_boolean_mask_NOT_reference"]) < TOLERANCE
    assert relative(masked, wanted["embedding"]) > 1e-2
    with pytest.raises(ConfigError, match="no binary_decoder"):
        network.expressed(wanted["embedding"], wanted["predict/gene_tokens"])


@torch.inference_mode()
@pytest.mark.parametrize("detail", ["positions", "scale of the width", "norm of tokens", "heads"])
def test_each_detail_matters(
    goldens: Path, wanted: dict[str, torch.Tensor], detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = uce_network.read_network(goldens / "uce" / "model.torch", 2 if detail == "heads" else 4)
    if detail == "positions":
        network.pos_encoder.pe = network.pos_encoder.pe.roll(1, 0)
    if detail == "scale of the width":
        network.encoder[2].weight = torch.nn.Parameter(network.encoder[2].weight * 2)
    if detail == "norm of tokens":
        monkeypatch.setattr(uce_network, "normalize", lambda x, dim: x)
    found = network(Batch.from_tokens(uce.padded(_sentences(wanted))))
    assert relative(found, wanted["embedding"]) > 1e-3


def test_maps_are_the_weights_that_are_mixed_with() -> None:
    query, key, value = (torch.randn(2, 6, 4) for _ in range(3))
    bias = torch.tensor([0.0, 0, 0, 0, 1, 1])
    right = uce_network._biased(query, key, value, bias)
    assert relative(uce_network._weights(query, key, bias) @ value, right) < TOLERANCE


@torch.inference_mode()
def test_recorded_predictions_of_expression(
    goldens: Path, wanted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    head = load_file(goldens / "uce" / "predict_head.safetensors")
    weights = torch.load(goldens / "uce" / "model.torch", weights_only=True)
    torch.save(weights | head, tmp_path / "model.torch")
    network = uce_network.read_network(tmp_path / "model.torch", 4)
    logits = network.expressed(wanted["embedding"], wanted["predict/gene_tokens"])
    assert relative(logits, wanted["predict/logits"][:, 0]) < TOLERANCE
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted["predict/targets"])
    assert relative(loss, wanted["predict/bce_with_logits"][0]) < TOLERANCE


def test_recorded_sentences_and_draws_by_hash(wanted: dict[str, torch.Tensor]) -> None:
    names = [f"G{number}" for number in range(400)]
    match = GeneVocabulary.of(names, kind="symbol", species=()).match({"index": np.array(names)})
    counts = wanted["counts"].numpy()[:4]
    rows, columns = np.nonzero(counts)
    pointers = np.searchsorted(rows, np.arange(5))
    block = CellBlock(0, counts[rows, columns], columns.astype(np.int32), pointers, 400)
    tokenizer = uce.Sentences(
        token_ids=wanted["protein_embedding_index"].numpy().astype(np.int32),
        chromosome=wanted["chromosome"].numpy(),
        start=wanted["start"].numpy(),
        offset=440,
        draws=60,
        published=True,
    )
    tokens = tokenizer(block, match, seed=71)
    for cell, length in enumerate(wanted["lengths"].tolist()[:4]):
        assert tokens[cell].ids.tolist() == wanted["tokens"][cell, :length].tolist()
    with pytest.raises(ConfigError, match="in order from the first"):
        tokenizer(block.part(2, 4), match, seed=71)
    tokenizer.published = False
    drawn = tokenizer(block, match, seed=1)
    alone = tokenizer(block.part(2, 3), match, seed=1)
    assert alone.ids.tolist() == drawn[2].ids.tolist()
    assert drawn[2].ids.tolist() != tokenizer(block, match, seed=2)[2].ids.tolist()
    # Genes come up as often as log(1 + count) asks.
    tokenizer.draws = 50_000
    many = np.bincount(tokenizer(block.part(0, 1), match, seed=3).ids, minlength=440)
    shares = np.log1p(counts[0]) / np.log1p(counts[0]).sum()
    genes = tokenizer.token_ids
    by_protein = np.bincount(genes, weights=shares, minlength=440)
    kept = np.setdiff1d(np.arange(440), [2, 3])
    assert np.abs(many[kept] / 50_000 - by_protein[kept]).max() < 0.006


@pytest.fixture
def folder(goldens: Path, tmp_path: Path) -> Path:
    small_systems.uce(tmp_path, goldens)
    return tmp_path


def test_cells_of_a_file_to_vectors(folder: Path, shipped_cells: Path) -> None:
    path = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    found = biolm.embed(path, model=folder, device="cpu", seed=3)
    facts = found.uns["biolm"]["X_uce"]["checkpoint"]
    assert (facts["padding"], facts["draws"], facts["species"]) == ("published", "hash", "human")
    masked = biolm.embed(path, model=f"{folder}?padding=masked", device="cpu", seed=3, block_rows=100)
    vectors, right = found.obsm["X_uce"], masked.obsm["X_uce"]
    assert 1e-4 < np.abs(vectors - right).max() < 1
    in_turn = biolm.embed(path, model=f"{folder}?padding=masked&draws=published", device="cpu", seed=3)
    assert np.abs(in_turn.obsm["X_uce"] - right).max() > 1e-3


def test_refusals(folder: Path, shipped_cells: Path) -> None:
    path = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    with pytest.raises(ConfigError, match="leave the block rows out"):
        biolm.embed(path, model=folder, block_rows=10)
    with pytest.raises(ConfigError, match="padding must be one of published, masked"):
        biolm.load(f"{folder}?padding=none")
    with pytest.raises(CheckpointError, match=r"lacks protein_embeddings/Mus_musculus\*ESM2"):
        biolm.load(f"{folder}?species=mouse")
    proteins = folder / "protein_embeddings"
    human = next(proteins.iterdir())
    shutil.copy(human, proteins / "Mus_musculus.GRCm39.gene_symbol_to_embedding_ESM2.pt")
    with pytest.raises(ConfigError, match="know no species 'mouse'"):
        biolm.load(f"{folder}?species=mouse")
    (folder / "config.json").write_text(json.dumps({"config": {"H": 4}}))
    weights = torch.load(folder / "model.torch", weights_only=True)
    torch.save({k: v for k, v in weights.items() if k != "decoder.3.bias"}, folder / "4layer_model.torch")
    with pytest.raises(CheckpointError, match=r"missing decoder\.3\.bias"):
        biolm.load(folder)
    (folder / "species_chrom.csv").unlink()
    with pytest.raises(CheckpointError, match=r"lacks species_chrom\.csv"):
        biolm.load(folder)
