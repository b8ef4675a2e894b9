"""scConcept: recorded results, its folder, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_systems
import torch
from flips import flipped_configs
from perturb import relative
from safetensors.torch import load_file

import biolm
from biolm.batch import Batch
from biolm.core import Transformer
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.systems import scconcept

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def wanted(goldens: Path) -> dict[str, torch.Tensor]:
    return load_file(goldens / "scconcept" / "io.safetensors")


@pytest.fixture
def folder(goldens: Path, tmp_path: Path) -> Path:
    small_systems.scconcept(tmp_path, goldens)
    return tmp_path


def _padded(wanted: dict[str, torch.Tensor]) -> Batch:
    tokens = wanted["predict/tokens"]
    ids = torch.cat([torch.zeros(len(tokens), 1, dtype=tokens.dtype), tokens], 1)
    return Batch.from_padded(ids, ids != 1)


def test_recorded_states_and_vectors(folder: Path, wanted: dict[str, torch.Tensor]) -> None:
    model = biolm.load(folder)
    batch = _padded(wanted)
    keep = torch.cat([torch.ones(12, 1).bool(), wanted["predict/tokens"] != 1], 1)
    states = model(batch, logits=False).last_hidden_state
    assert relative(states, wanted["predict/all_embeddings"][keep]) < TOLERANCE
    vectors = model._vectors(batch, EmbedOptions(device="cpu"))
    assert relative(vectors, wanted["predict/cls_cell_emb"]) < TOLERANCE


def test_recorded_tokens_and_vectors_of_counts(folder: Path, wanted: dict[str, torch.Tensor]) -> None:
    model = biolm.load(folder)
    counts = wanted["counts"].numpy()
    rows, columns = np.nonzero(counts)
    indptr = np.searchsorted(rows, np.arange(len(counts) + 1))
    block = CellBlock(0, counts[rows, columns], columns.astype(np.int32), indptr, counts.shape[1])
    match = model.vocabulary.match({"index": np.array(model.vocabulary.genes)})
    tokens = model.tokenize(block, match)
    for cell, theirs in enumerate(wanted["predict/tokens"]):
        assert tokens[cell].ids[1:61].tolist() == theirs[theirs != 1].tolist()
    # The recorded cells were cut at 60 genes.
    tokenizer = dataclasses.replace(model.preprocessor.tokenizer, max_length=61)
    model.preprocessor = dataclasses.replace(model.preprocessor, tokenizer=tokenizer)
    for budget in (90, 5000):
        vectors = model.embed(block, match, EmbedOptions(device="cpu", batch_tokens=budget))
        assert relative(torch.from_numpy(vectors), wanted["predict/cls_cell_emb"]) < TOLERANCE


def test_recorded_losses(goldens: Path, wanted: dict[str, torch.Tensor]) -> None:
    weights = torch.load(goldens / "scconcept" / "model.ckpt", weights_only=True)["state_dict"]
    scale = float(weights["logit_scale"].exp())
    first, second, kept = (wanted[f"given/{name}"] for name in ("a", "b", "items_mask"))
    found = {
        "given/clip_loss": scconcept.clip_loss(first, second, scale),
        "given/clip_loss_masked": scconcept.clip_loss(first, second, scale, kept),
        "given/2n_way_loss": scconcept.two_way_loss(first, second, scale),
    }
    views = wanted["step/cell_embs_1"], wanted["step/cell_embs_2"]
    found["step/loss_n_way"] = scconcept.clip_loss(*views, scale)
    found["step/loss_2n_way"] = scconcept.two_way_loss(*views, scale)
    for name, loss in found.items():
        assert relative(loss, wanted[name][0]) < TOLERANCE, name
    assert relative(scconcept.clip_loss(first, second, scale * 1.1), wanted["given/clip_loss"][0]) > 1e-3


def test_each_detail_matters(folder: Path, wanted: dict[str, torch.Tensor]) -> None:
    model = biolm.load(folder)
    batch, right = _padded(wanted), wanted["predict/cls_cell_emb"]
    embeddings = model.core.embeddings
    weights = model.core.state_dict()
    for name in ("block", "activation", "norm_eps"):
        for _, config in flipped_configs(dataclasses.replace(model.core.config), [name]):
            core = Transformer(config)
            core.embeddings = embeddings
            core.load_state_dict({key: weights[key] for key in core.state_dict()})
            with torch.inference_mode():
                found = core.eval()(batch, logits=False).last_hidden_state[batch.offsets[:-1].long()]
            # Exact and tanh GELU differ by 1e-4 of themselves, which is still above the tolerance.
            assert relative(torch.nn.functional.normalize(found, dim=1), right) > 4e-5, name
    embeddings.position = embeddings.position.roll(1, 1)
    assert relative(model._vectors(batch, EmbedOptions(device="cpu")), right) > 1e-3


def test_cells_of_a_file_and_refusals(folder: Path, shipped_cells: Path) -> None:
    path = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    vectors = biolm.embed(path, model=folder, device="cpu").obsm["X_scconcept"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    mapping = folder / "gene_mappings"
    shutil.copy(mapping / "hsapiens.csv", mapping / "mmusculus.csv")
    with pytest.raises(ConfigError, match="hsapiens, mmusculus: say which"):
        biolm.load(folder)
    assert biolm.load(f"{folder}?species=hsapiens").width == 48
    with pytest.raises(ConfigError, match="reads no 'human' but hsapiens, mmusculus"):
        biolm.load(f"{folder}?species=human")
    with pytest.raises(CheckpointError, match="no genes of mmusculus"):
        biolm.load(f"{folder}?species=mmusculus")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"input_encoding": "value_encoding"}))
    with pytest.raises(ConfigError, match="only rank_encoding"):
        biolm.load(f"{folder}?species=hsapiens")
    (folder / "config.json").write_text(json.dumps(settings | {"nlayers": 3}))
    with pytest.raises(CheckpointError, match="missing"):
        biolm.load(f"{folder}?species=hsapiens")
    (mapping / "hsapiens.csv").write_text("gene_id,token\nENSG00000167286,900\n")
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="up to 900"):
        biolm.load(f"{folder}?species=hsapiens")
