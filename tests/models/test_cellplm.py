"""CellPLM: recorded results, groups of cells, its folder, and what is refused; flow attention as a mixer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from perturb import relative
from safetensors.torch import load_file

import biolm
from biolm.core import CoreConfig, Transformer
from biolm.core.flowformer import flow
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.io.json_file import read_json
from biolm.models.systems import cellplm
from biolm.models.systems.cellplm_network import CellPlmNetwork

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def wanted(goldens: Path) -> dict[str, torch.Tensor]:
    return load_file(goldens / "cellplm" / "io.safetensors")


@pytest.fixture
def network(goldens: Path) -> CellPlmNetwork:
    folder = goldens / "cellplm"
    return cellplm.read_network(folder / "tiny.best.ckpt", read_json(folder / "tiny.config.json"))


def _counts(wanted: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    counts = wanted["counts"]
    rows, columns = counts.nonzero(as_tuple=True)
    starts = torch.searchsorted(rows, torch.arange(len(counts)))
    return columns, counts[rows, columns].double().log1p().float(), starts


@torch.inference_mode()
def test_recorded_states_latent_and_counts(network: CellPlmNetwork, wanted: dict[str, torch.Tensor]) -> None:
    embedded = network.core.embeddings.of_counts(*_counts(wanted))
    assert relative(embedded, wanted["embedding_layer"]) < TOLERANCE
    states = network.states(embedded)
    assert relative(states, wanted["pre_latent_norm"]) < TOLERANCE
    latent = network.latent
    logits = latent.logits(states)
    assert relative(logits, wanted["cluster_logits"]) < TOLERANCE
    generator = torch.Generator().manual_seed(77)
    cluster = latent.draw(logits, generator)
    assert torch.equal(cluster, wanted["seed77/cluster_onehot"])
    mean, variance = latent.gaussian(states, cluster)
    assert relative(mean, wanted["seed77/latent"]) < TOLERANCE
    assert relative(variance, wanted["seed77/var"]) < TOLERANCE
    every = (wanted["cluster_prob"].T[..., None] * wanted["latent_for_each_cluster"]).sum(0)
    assert relative(latent.expected(states), every) < TOLERANCE
    labels = {name: wanted[name] for name in ("batch", "dataset")}
    means, dispersions = network.decoder(mean, labels)
    assert relative(means, wanted["seed77/nb_mean"]) < TOLERANCE
    assert relative(dispersions.expand(24, -1), wanted["seed77/nb_disp"]) < TOLERANCE
    assert relative(network.decoder(mean, {})[0], wanted["seed77/nb_mean"]) > 1e-2


@torch.inference_mode()
def test_recorded_cells_of_some_genes(network: CellPlmNetwork, wanted: dict[str, torch.Tensor]) -> None:
    kept = torch.zeros_like(wanted["counts"]).bool()
    kept[:, wanted["subset_gene_index"]] = True
    counts = dict(wanted, counts=wanted["counts"] * kept)
    embedded = network.core.embeddings.of_counts(*_counts(counts))
    assert relative(embedded, wanted["subset/embedding_layer"]) < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("detail", ["half the group", "no log", "final norm", "gelu", "heads"])
def test_each_detail_matters(
    network: CellPlmNetwork, wanted: dict[str, torch.Tensor], detail: str, goldens: Path
) -> None:
    genes, values, starts = _counts(wanted)
    right, rows = wanted["pre_latent_norm"], slice(None)
    if detail == "no log":
        values = values.expm1()
    if detail == "gelu":
        for layer in network.core.layers:
            layer.mlp.act = torch.relu
    if detail == "heads":
        config = read_json(goldens / "cellplm" / "tiny.config.json") | {"enc_head": 2}
        network = cellplm.read_network(goldens / "cellplm" / "tiny.best.ckpt", config)
    if detail == "final norm":
        network.core.final_norm = torch.nn.Identity()
    embedded = network.core.embeddings.of_counts(genes, values, starts)
    if detail == "half the group":
        embedded, rows = embedded[:12], slice(0, 12)
    assert relative(network.states(embedded), right[rows]) > 1e-3


def _flow(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Flow attention of one head, row by row."""
    a, b, e = q.sigmoid(), k.sigmoid(), 1e-6
    arriving = torch.stack([1 / ((row + e) @ (b.sum(0) + e)) for row in a])
    leaving = torch.stack([1 / ((row + e) @ (a.sum(0) + e)) for row in b])
    kept = torch.stack([((row + e) @ ((b * leaving[:, None]).sum(0) + e)).sigmoid() for row in a])
    sent = torch.stack([(row + e) @ ((a * arriving[:, None]).sum(0) + e) for row in b]).clamp(-1, 1)
    sent = sent.softmax(0) * len(q)
    return torch.einsum("se,ue,uf->sf", a * arriving[:, None], b, v * sent[:, None]) * kept[:, None]


def test_flow_attention_by_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 5, 4, dtype=torch.float64, generator=generator)
    found = flow(q, k, v)
    for head in range(2):
        assert relative(found[head], _flow(q[head], k[head], v[head])) < 1e-5


@torch.inference_mode()
def test_norms_of_the_published_config(goldens: Path, wanted: dict[str, torch.Tensor]) -> None:
    """The published weights were trained with group norms, and their file holds a table of positions.

    No results were recorded with them, so the encoder is written out in float64.
    """
    folder = goldens / "cellplm"
    config = read_json(folder / "tiny.config.json") | {"norm": "groupnorm"}
    network = cellplm.read_network(folder / "tiny.best.ckpt", config)
    held = torch.load(folder / "tiny.best.ckpt", weights_only=True)["model_state_dict"]
    weights = {name: tensor.double() for name, tensor in held.items()}

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str, groups: int = 4) -> torch.Tensor:
        parts = x.unflatten(1, (groups, -1))
        centred = parts - parts.mean(2, keepdim=True)
        scaled = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).flatten(1)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = wanted["counts"].double().log1p() @ weights["embedder.feat_enc.emb"]
    x = norm(linear(x, "embedder.extra_linear.0").relu(), "embedder.extra_linear.3")
    embedded = network.core.embeddings.of_counts(*_counts(wanted))
    assert relative(embedded, x) < TOLERANCE
    assert relative(embedded, wanted["embedding_layer"]) > 1e-2
    for number in range(config["enc_layers"]):
        layer = f"encoder.layers.{number}"
        y = norm(x, f"{layer}.norm1")
        parts = [linear(y, f"{layer}.self_attn.{name}_projection") for name in ("query", "key", "value")]
        heads = zip(*(part.chunk(config["enc_head"], 1) for part in parts), strict=True)
        mixed = torch.cat([_flow(*head) for head in heads], 1)
        x = x + linear(mixed, f"{layer}.self_attn.out_projection")
        hidden = torch.nn.functional.gelu(linear(norm(x, f"{layer}.norm2"), f"{layer}._ff_block.0"))
        x = x + linear(hidden, f"{layer}._ff_block.3")
    right = norm(x, "pre_latent_norm.norm", groups=1)
    assert relative(network.states(embedded), right) < TOLERANCE


@torch.inference_mode()
def test_positions_that_the_published_code_leaves_out(
    goldens: Path, wanted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    folder = goldens / "cellplm"
    held = torch.load(folder / "tiny.best.ckpt", weights_only=True)
    table = {"embedder.pe_enc.missing_pe": torch.ones(48), "embedder.pe_enc.pe_enc.weight": torch.ones(9, 48)}
    torch.save(held | {"model_state_dict": held["model_state_dict"] | table}, tmp_path / "with.best.ckpt")
    config = read_json(folder / "tiny.config.json")
    network = cellplm.read_network(tmp_path / "with.best.ckpt", config)
    embedded = network.core.embeddings.of_counts(*_counts(wanted))
    assert relative(embedded, wanted["embedding_layer"]) < TOLERANCE
    with pytest.raises(ConfigError, match="reads positions of cells"):
        cellplm.read_network(tmp_path / "with.best.ckpt", config | {"cat_pe": True, "pe_type": "sin"})
    with pytest.raises(ConfigError, match="norm must be one of layernorm, groupnorm"):
        cellplm.read_network(tmp_path / "with.best.ckpt", config | {"norm": "batchnorm"})


@torch.inference_mode()
def test_documents_of_the_mixer_stand_alone() -> None:
    config = CoreConfig(
        vocab_size=9,
        d_model=16,
        n_layers=2,
        n_heads=2,
        d_ff=32,
        position="none",
        mixer="flowformer",
        head="none",
    )
    model = Transformer(config).eval()
    ids = [[1, 2, 3, 4], [5, 6], [7, 8, 1]]
    both = biolm.Batch.from_padded(
        torch.tensor([row + [0] * (4 - len(row)) for row in ids]),
        torch.tensor([[1] * len(row) + [0] * (4 - len(row)) for row in ids]).bool(),
    )
    states = model(both).last_hidden_state
    alone = [model(biolm.Batch.from_padded(torch.tensor([row]))).last_hidden_state for row in ids]
    assert relative(states, torch.cat(alone)) < TOLERANCE
    with pytest.raises(ConfigError, match="causal=True is not supported by the mixer 'flowformer'"):
        Transformer(dataclasses.replace(config, causal=True))


@pytest.fixture
def cells(wanted: dict[str, torch.Tensor], goldens: Path, tmp_path: Path) -> Path:
    import anndata
    import pandas as pd
    import scipy.sparse as sp

    genes = read_json(goldens / "cellplm" / "tiny.config.json")["gene_list"]
    obs = pd.DataFrame({"batch": ["a", "b"] * 12}, index=[f"c{i}" for i in range(24)])
    table = anndata.AnnData(
        sp.csr_matrix(wanted["counts"].numpy().astype(np.float32)), obs=obs, var=pd.DataFrame(index=genes)
    )
    table.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_cells_of_a_file_to_vectors(goldens: Path, wanted: dict[str, torch.Tensor], cells: Path) -> None:
    folder = goldens / "cellplm"
    found = biolm.embed(cells, model=f"{folder}?group=all", device="cpu", seed=77)
    vectors = torch.from_numpy(found.obsm["X_cellplm"])
    assert relative(vectors, wanted["seed77/latent"]) < TOLERANCE
    facts = found.uns["biolm"]["X_cellplm"]["checkpoint"]
    assert (facts["group"], facts["cluster"]) == ("all", "drawn")
    by_batch = biolm.embed(cells, model=f"{folder}?group=batch&cluster=expected", device="cpu")
    alone = biolm.embed(found[::2].copy(), model=f"{folder}?group=all&cluster=expected", device="cpu")
    np.testing.assert_allclose(by_batch.obsm["X_cellplm"][::2], alone.obsm["X_cellplm"], atol=1e-5)
    runs = biolm.embed(cells, model=f"{folder}?group=6&cluster=expected", device="cpu")
    assert np.abs(runs.obsm["X_cellplm"] - by_batch.obsm["X_cellplm"]).max() > 1e-3


def test_in_bfloat16_vectors_stay_close(goldens: Path, cells: Path) -> None:
    options = {"model": f"{goldens / 'cellplm'}?group=all&cluster=expected", "device": "cpu"}
    exact, rounded = (
        biolm.embed(cells, **options, precision=precision).obsm["X_cellplm"]
        for precision in ("float32", "bfloat16")
    )
    cosine = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert cosine.min() > 0.999
    assert np.abs(exact - rounded).max() > 1e-4


def test_refusals(goldens: Path, tmp_path: Path, cells: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("tiny.config.json", "tiny.best.ckpt"):
        shutil.copy(goldens / "cellplm" / name, folder / name)
        (folder / name).chmod(0o644)
    with pytest.raises(ConfigError, match="say which are a group"):
        biolm.load(folder)
    with pytest.raises(InputError, match="no obs column 'donor'"):
        biolm.embed(cells, model=f"{folder}?group=donor")
    with pytest.raises(ConfigError, match="leave the block rows out"):
        biolm.embed(cells, model=f"{folder}?group=all", block_rows=5)
    config = json.loads((folder / "tiny.config.json").read_text())
    (folder / "tiny.config.json").write_text(json.dumps(config | {"enc_layers": 3}))
    with pytest.raises(CheckpointError, match="missing"):
        biolm.load(f"{folder}?group=all")
    (folder / "tiny.config.json").write_text(json.dumps(config | {"gene_list": config["gene_list"][:-1]}))
    with pytest.raises(CheckpointError, match="lists 179 genes"):
        biolm.load(f"{folder}?group=all")
    (folder / "tiny.config.json").write_text(json.dumps(config | {"enc_mod": "performer"}))
    with pytest.raises(ConfigError, match="only 'flowformer'"):
        biolm.load(f"{folder}?group=all")
