"""TranscriptFormer: recorded results, its folder in both layouts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import small_systems
import torch
from perturb import relative
from safetensors.torch import load_file

import biolm
from biolm.batch import Batch
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.models.systems import transcriptformer, transcriptformer_network
from biolm.models.systems.transcriptformer_network import TranscriptNetwork
from biolm.objectives.value_losses import zero_truncated_poisson

TOLERANCE = 2e-5
GENES = 157


@pytest.fixture(scope="module")
def wanted(goldens: Path) -> dict[str, torch.Tensor]:
    return load_file(goldens / "transcriptformer" / "io.safetensors")


@pytest.fixture
def network(goldens: Path) -> TranscriptNetwork:
    return transcriptformer.read_network(goldens / "transcriptformer")


def _inputs(wanted: dict[str, torch.Tensor]) -> tuple[Batch, torch.Tensor]:
    """Packed assay, START and genes but the last, and which padded places they are of."""
    ids, counts = wanted["gene_token_indices"], wanted["gene_counts"]
    start, one = torch.full((5, 1), 2), torch.ones(5, 1)
    tokens = torch.cat([wanted["aux_token_indices"] + GENES, start, ids[:, :-1]], 1)
    keep = tokens != 1
    return Batch.from_padded(tokens, keep, values=torch.cat([one, one, counts[:, :-1]], 1)), keep


def _rows(states: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    padded = torch.zeros(*keep.shape, states.shape[1])
    padded[keep] = states
    return padded[:, 1:]


@torch.inference_mode()
@pytest.mark.parametrize("mode", ["embed", "train"])
def test_recorded_states_and_expression(
    network: TranscriptNetwork, wanted: dict[str, torch.Tensor], mode: str
) -> None:
    batch, keep = _inputs(wanted)
    states = network(batch, embedding=mode == "embed")
    assert relative(states, wanted[f"{mode}/transformer_output"][keep]) < TOLERANCE
    rows = _rows(states, keep)
    assert (
        relative(network.gene_logits(rows)[keep[:, 1:]], wanted[f"{mode}/gene_logit"][keep[:, 1:]])
        < TOLERANCE
    )
    targets, counts = wanted["gene_token_indices"], wanted["gene_counts"]
    valid = targets != 1
    owner = torch.arange(5)[:, None].expand_as(valid)[valid]
    means = network.expected_counts(rows[valid], targets[valid], owner, counts.sum(1))
    assert relative(means, wanted[f"{mode}/mu"][valid]) < TOLERANCE
    # The published loss takes 1 as the last count of every cell.
    counts = torch.cat([counts[:, :-1], torch.ones(5, 1)], 1)
    loss = zero_truncated_poisson(means.log(), counts[valid], rectified=True)
    assert relative(loss.mean(), wanted[f"{mode}/ztp_nll"][0]) < TOLERANCE
    per_cell = torch.zeros(5).index_add(0, owner, loss) / valid.sum(1)
    assert relative(per_cell, wanted[f"{mode}/ztp_nll_per_cell"]) < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("detail", ["softcap", "counts", "relu", "bias on its own key", "heads"])
def test_each_detail_matters(
    network: TranscriptNetwork, wanted: dict[str, torch.Tensor], detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, keep = _inputs(wanted)
    if detail == "softcap":
        network.softcap = 1e4
    if detail == "heads":
        network.heads = 2
    if detail == "counts":
        assert batch.values is not None
        batch.values.fill_(1)
    if detail == "relu":
        monkeypatch.setattr(transcriptformer_network, "gelu", torch.relu)
    states = network(batch, embedding=detail != "bias on its own key")
    assert relative(states, wanted["embed/transformer_output"][keep]) > 1e-3


@torch.inference_mode()
def test_slices_of_attention_and_its_map(network: TranscriptNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (torch.randn(network.heads, 11, 4) for _ in range(3))
    bias = torch.rand(11)
    right = network._map(query, key, bias)
    assert torch.equal(right.triu(1), torch.zeros_like(right))
    scores = (query @ key.transpose(1, 2) / 2 + bias) / network.softcap
    scores = (network.softcap * scores.tanh()).masked_fill(torch.ones(11, 11).triu(1).bool(), -torch.inf)
    assert relative(right, scores.softmax(2)) < TOLERANCE
    for queries in (128, 4):
        monkeypatch.setattr(transcriptformer_network, "_QUERIES", queries)
        assert relative(network._attend(query, key, value, bias), right @ value) < TOLERANCE


@pytest.fixture
def folder(goldens: Path, tmp_path: Path) -> Path:
    small_systems.transcriptformer(tmp_path, goldens)
    return tmp_path


def test_recorded_vectors_through_tokens(goldens: Path, wanted: dict[str, torch.Tensor]) -> None:
    import anndata
    import pandas as pd

    # The recorded cells hold their genes in an order of their own: one file a cell, in that order.
    names = {token: f"G{token - 7}" for token in range(7, GENES)}
    assays = ["unknown", "10x 3' v2", "10x 3' v3", "Smart-seq2"]
    model = biolm.load(goldens / "transcriptformer")
    for cell in (0, 2, 4):
        kept = wanted["gene_token_indices"][cell] != 1
        genes = [names[int(token)] for token in wanted["gene_token_indices"][cell][kept]]
        table = anndata.AnnData(
            wanted["gene_counts"][cell][kept][None].numpy(),
            obs=pd.DataFrame({"assay": [assays[int(wanted["aux_token_indices"][cell])]]}, index=["c"]),
            var=pd.DataFrame(index=genes),
        )
        found = biolm.embed(table, model=model, device="cpu", copy=True)
        vector = torch.from_numpy(found.obsm["X_transcriptformer"])
        assert relative(vector, wanted["embed/embeddings"][cell : cell + 1]) < TOLERANCE
        mean = biolm.embed(table, model=model, device="cpu", copy=True, pool="mean")
        tokens = min(int(kept.sum()), 62) + 1
        scaled = torch.from_numpy(mean.obsm["X_transcriptformer"]) * tokens / 63
        assert relative(scaled, vector) < TOLERANCE


def test_cells_of_a_file_and_refusals(folder: Path, shipped_cells: Path) -> None:
    path = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    with pytest.raises(InputError, match="reads the assay of each cell"):
        biolm.embed(path, model=folder)
    with pytest.raises(ConfigError, match="assay must be one of unknown, 10x"):
        biolm.load(f"{folder}?assay=merfish")
    found = biolm.embed(path, model=f"{folder}?assay=Smart-seq2", device="cpu")
    unknown = biolm.embed(path, model=f"{folder}?assay=unknown", device="cpu", batch_tokens=300)
    assert found.uns["biolm"]["X_transcriptformer"]["checkpoint"]["assay"] == "Smart-seq2"
    assert np.abs(found.obsm["X_transcriptformer"] - unknown.obsm["X_transcriptformer"]).max() > 1e-3
    (folder / "vocabs" / "homo_sapiens_gene.h5").write_bytes(b"no table")
    with pytest.raises(CheckpointError, match="missing or damaged"):
        biolm.load(f"{folder}?assay=unknown")
    with h5py.File(folder / "vocabs" / "homo_sapiens_gene.h5", "w") as file:
        file["keys"] = np.array(["ENSG00000167286"], dtype="S")
    with pytest.raises(CheckpointError, match="names 8 gene tokens but its weights have 157"):
        biolm.load(f"{folder}?assay=unknown")
