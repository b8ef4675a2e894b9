"""Nicheformer: recorded tokens, states and vectors, context of the cells, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from perturb import relative
from safetensors.torch import load_file

from biolm.batch import Batch
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.io.cells import open_cells
from biolm.models.context import ContextColumn
from biolm.models.model import EmbedOptions
from biolm.models.registry import resolve
from biolm.models.systems import nicheformer
from biolm.models.systems.nicheformer_model import UnseenPads
from biolm.tasks.embed import embed

TOLERANCE = 2e-5


@pytest.fixture
def folder(goldens: Path, tmp_path: Path) -> Path:
    """The recorded checkpoint with its side files, as the published repository holds them."""
    golden = goldens / "nicheformer"
    shutil.copyfile(golden / "nicheformer.ckpt", tmp_path / "nicheformer.ckpt")
    with open_cells(golden / "cells.h5ad") as source:
        (tmp_path / "genes.txt").write_text("\n".join(source.gene_columns()["index"]))
    recorded = np.load(golden / "tokenisation.npz")
    for name in ("dissociated", "merfish", "xenium"):
        np.save(tmp_path / f"{name}_mean_script.npy", recorded[f"{name}/mean"])
    return tmp_path


@pytest.mark.parametrize("technology", ["dissociated", "merfish", "xenium"])
@pytest.mark.parametrize("unmeasured", ["keep", "drop"])
def test_recorded_tokens(goldens: Path, folder: Path, technology: str, unmeasured: str) -> None:
    golden = goldens / "nicheformer"
    recorded = np.load(golden / "tokenisation.npz")
    wanted, values = (recorded[f"{technology}/{name}"] for name in ("tokens", "values_in_token_order"))
    length = wanted.shape[1]
    preprocessor = nicheformer.load_tokenizer(
        folder, technology=technology, unmeasured=unmeasured, context_length=length + 3
    )
    with open_cells(golden / "cells.h5ad") as source:
        match = preprocessor.vocabulary.match(source.gene_columns())
        preprocessor.read_context(source)
        tokens = preprocessor.tokenize(next(source.blocks()), match)
    checked = 0
    for cell in range(len(tokens)):
        found, told = tokens[cell].ids[3:], ~np.isnan(values[cell]) & (wanted[cell] > 0)
        count = int(told.sum())
        assert np.array_equal(found[:count], wanted[cell][told])
        tail = wanted[cell][(wanted[cell] > 0) & ~told]
        assert len(found) == count + (len(tail) if unmeasured == "keep" else 0)
        if unmeasured == "keep" and len(found) < length:
            assert set(found[count:]) == set(tail)
            checked += len(tail)
    assert checked > 0 or technology == "xenium" or unmeasured == "drop"


def test_recorded_states_and_vectors(goldens: Path, folder: Path) -> None:
    model = nicheformer.load(folder, technology="dissociated")
    wanted = load_file(goldens / "nicheformer" / "io.safetensors")
    ids = wanted["masked_indices_p0"]
    assert np.array_equal((ids == 1).numpy(), wanted["attention_mask"].numpy())
    states = model.padded_states(ids)
    assert relative(states, wanted["transformer_output"]) < TOLERANCE
    assert relative(model.token_logits(states[0]), wanted["mlm_prediction_row0"]) < TOLERANCE
    trained = model.token_logits(model.padded_states(wanted["train/masked_indices"]))
    assert relative(trained[0], wanted["train/mlm_prediction_row0"]) < TOLERANCE
    chosen = wanted["train/targets"] != -100
    loss = torch.nn.functional.cross_entropy(trained[chosen], wanted["train/targets"][chosen])
    assert abs(loss.item() - wanted["train/loss"].item()) < 1e-3


@torch.inference_mode()
def test_ids_0_and_3(goldens: Path, folder: Path) -> None:
    """Id 0 (masked) is read as padding; id 3 (dissociated) as itself, though the code calls it cls."""
    model = nicheformer.load(folder, technology="dissociated")
    wanted = load_file(goldens / "nicheformer" / "io.safetensors")
    ids = wanted["masked_indices_p0"]
    recorded = wanted["transformer_output"]
    assert (ids == 3).any()
    raw = wanted["X_with_context"].long()
    assert (raw == 0).any()

    def states(ids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        batch = Batch.from_padded(ids)
        cache = UnseenPads(seen.flatten())
        return model.core(batch, logits=False, cache=cache).last_hidden_state.view(*ids.shape, -1)

    read = torch.where(raw == 0, 1, raw)
    assert torch.equal(read, ids)
    assert relative(states(read, read != 1), recorded) < TOLERANCE
    assert relative(states(raw, raw != 1), recorded) > 1e-3
    assert relative(states(read, (read != 1) & (read != 3)), recorded) > 1e-3


# At most 1 % of what a wrong detail changes.
def test_recorded_vectors_from_cells(goldens: Path, folder: Path) -> None:
    golden = goldens / "nicheformer"
    wanted = load_file(golden / "io.safetensors")
    model = nicheformer.load(folder, technology="dissociated")
    with open_cells(golden / "cells.h5ad") as source:
        match = model.vocabulary.match(source.gene_columns())
        model.preprocessor.read_context(source)
        block = next(source.blocks())
    tokens = model.tokenize(block, match)
    with_context = wanted["X_with_context"].numpy()
    for cell in range(len(tokens)):
        own = tokens[cell].ids
        assert np.array_equal(own, with_context[cell][: len(own)])

    def found(**options: object) -> torch.Tensor:
        return torch.from_numpy(model.embed(block, match, EmbedOptions(device="cpu", **options)))  # type: ignore[arg-type]

    for budget in (130, 16_384):
        assert relative(found(batch_tokens=budget), wanted["embedding_layer-1"]) < TOLERANCE
    assert relative(found(hidden_state=-2), wanted["embedding_layer-2"]) < TOLERANCE
    assert relative(found(hidden_state=1), wanted["embedding_layer0"]) < TOLERANCE
    assert relative(found(pool="published_context"), wanted["embedding_with_context"]) < TOLERANCE
    # Details that must not be flipped, and the correction.
    assert relative(found(pool="mean"), wanted["embedding_layer-1"]) > 0.01
    right = model.core
    for switch, value in (("activation", "gelu"), ("norm_eps", 1e-5)):
        model.core = type(right)(replace(right.config, **{switch: value})).eval()
        model.core.load_state_dict(right.state_dict())
        least = 1e-6 if switch == "norm_eps" else 1e-3
        assert relative(found(), wanted["embedding_layer-1"]) > least, switch


def test_packed_mean_equals_the_mean_of_padded_states(goldens: Path, folder: Path) -> None:
    model = nicheformer.load(
        folder, technology="dissociated", specie="human", assay="cosmx", modality="spatial"
    )
    with open_cells(goldens / "nicheformer" / "cells.h5ad") as source:
        match = model.vocabulary.match(source.gene_columns())
        model.preprocessor.read_context(source)
        block = next(source.blocks())
    tokens = model.tokenize(block, match)
    assert {tuple(tokens[cell].ids[:3]) for cell in range(len(tokens))} == {(5, 8, 4)}
    found = model.embed(block, match, EmbedOptions(device="cpu", pool="mean"))
    for cell in range(len(tokens)):
        ids = torch.ones(1, 120, dtype=torch.long)
        own = torch.from_numpy(tokens[cell].ids).long()
        ids[0, : len(own)] = own
        wanted = model.padded_states(ids)[0, 3 : len(own)].mean(0)
        assert relative(torch.from_numpy(found[cell]), wanted) < TOLERANCE


def test_from_a_file_by_folder(goldens: Path, folder: Path) -> None:
    assert resolve(folder)[0].name == "nicheformer"
    golden = goldens / "nicheformer"
    model = nicheformer.load(folder, technology="dissociated")
    made = embed(golden / "cells.h5ad", model=model, device="cpu")
    wanted = load_file(golden / "io.safetensors")["embedding_layer-1"]
    assert relative(torch.from_numpy(made.obsm["X_nicheformer"]), wanted) < TOLERANCE
    said = made.uns["biolm"]["X_nicheformer"]
    assert said["parameters"]["pool"] == "published"
    columns = {name: f"obs['{name}']" for name in ("specie", "assay", "modality")}
    told = {"unmeasured": "keep", "technology": "dissociated"}
    assert said["checkpoint"]["options"] == columns | told


def test_context_by_name_and_number() -> None:
    column = ContextColumn(system="x", name="specie", tokens=nicheformer.CONTEXT["specie"])
    assert [column.token(value) for value in ("Human", "5", 5, 6.0, "Mus musculus", "fish")] == [
        5,
        5,
        5,
        6,
        6,
        None,
    ]


def test_refused(goldens: Path, folder: Path) -> None:
    import anndata

    cells = goldens / "nicheformer" / "cells.h5ad"
    adata = anndata.read_h5ad(cells)
    bare = adata.copy()
    del bare.obs["assay"]
    with pytest.raises(InputError, match=r"add it to obs as column 'assay'.*one of merfish, cosmx"):
        embed(bare, model=folder)
    adata.obs["assay"] = "Drop-seq"
    with pytest.raises(InputError, match=r"holds 'Drop-seq', which Nicheformer does not know; use one of"):
        embed(adata, model=folder)
    with pytest.raises(InputError, match=r"holds no cosmx_mean_script\.npy"):
        embed(bare, model=nicheformer.load(folder, assay="cosmx"))
    for wrong in ({"technology": "visium"}, {"unmeasured": "maybe"}, {"specie": "fish"}):
        with pytest.raises(ConfigError, match="must be"):
            nicheformer.load(folder, **wrong)
    np.save(folder / "merfish_mean_script.npy", np.ones(3))
    with pytest.raises(CheckpointError, match="holds 3 means but"):
        nicheformer.load(folder)
    (folder / "merfish_mean_script.npy").unlink()
    genes = (folder / "genes.txt").read_text()
    (folder / "genes.txt").unlink()
    with pytest.raises(CheckpointError, match=r"holds no .*model\.h5ad.*take them from data/model_means"):
        nicheformer.load(folder)
    shutil.copyfile(cells, folder / "model.h5ad")
    assert nicheformer.load(folder).vocabulary.genes == tuple(genes.split())
    (folder / "genes.txt").write_text("\n".join([genes, *(f"NEW{i}" for i in range(9))]))
    for name in ("dissociated", "xenium"):
        np.save(folder / f"{name}_mean_script.npy", np.ones(209))
    with pytest.raises(CheckpointError, match="lists 209 genes but"):
        nicheformer.load(folder)
    weights = torch.load(folder / "nicheformer.ckpt", weights_only=True)
    del weights["state_dict"]["encoder.layers.1.norm1.bias"]
    torch.save(weights, folder / "nicheformer.ckpt")
    with pytest.raises(CheckpointError, match=r"missing layers\.1\.attn_norm\.bias"):
        nicheformer.load(folder)
