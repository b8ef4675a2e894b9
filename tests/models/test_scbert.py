"""scBERT: recorded tokens, states, losses and classes, in company and alone, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from perturb import relative
from safetensors.torch import load_file
from torch import Tensor

from biolm.batch import Batch
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.registry import resolve
from biolm.models.systems import scbert
from biolm.models.token_model import TokenCellModel
from biolm.tasks.embed import embed
from biolm.vocab.published import published_match

TOLERANCE = 2e-5


@pytest.fixture
def folder(goldens: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    for path in (goldens / "scbert").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path


def _batch(bins: Tensor) -> Batch:
    ids = torch.arange(bins.shape[1]).expand(len(bins), -1)
    return Batch.from_padded(ids, values=bins)


def _states(model: TokenCellModel, bins: Tensor) -> Tensor:
    return model(_batch(bins), logits=False).to_padded().last_hidden_state


def _counts(counts: Tensor) -> CellBlock:
    rows, columns = counts.numpy().nonzero()
    indptr = np.searchsorted(rows, np.arange(len(counts) + 1))
    return CellBlock(0, counts.numpy()[rows, columns], columns.astype(np.int32), indptr, counts.shape[1])


def test_recorded_tokens_of_counts(goldens: Path) -> None:
    golden = goldens / "scbert"
    preprocessor, wanted = scbert.load_tokenizer(golden), load_file(golden / "io.safetensors")
    names = np.array(preprocessor.vocabulary.genes)
    match = published_match(preprocessor.vocabulary, preprocessor.published, {"index": names})
    tokens = preprocessor.tokenize(_counts(wanted["counts"]), match)
    assert np.array_equal(tokens.values.reshape(8, -1), wanted["tokens"].numpy())
    assert set(tokens.lengths) == {121}


def test_recorded_states_losses_and_classes_of_a_batch(goldens: Path) -> None:
    golden = goldens / "scbert"
    wanted, model = load_file(golden / "io.safetensors"), scbert.load(golden, stabiliser="batch")
    seen: list[Tensor] = []
    hooks = [
        layer.mlp_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for layer in model.core.layers
    ]
    states = _states(model, wanted["masked_tokens"])
    for hook in hooks:
        hook.remove()
    for i, found in enumerate(seen):
        assert relative(found, wanted[f"after_attention_residual_norm_input.{i}"].flatten(0, 1)) < TOLERANCE
        assert torch.equal(model.core.layers[i].attention.projection, wanted[f"projection_matrix.{i}"])
    assert relative(states, wanted["encodings"]) < TOLERANCE
    with torch.inference_mode():
        logits = model.bin_head(states)
        assert relative(logits, wanted["logits"]) < TOLERANCE
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted["labels"], ignore_index=6)
        assert abs(loss.item() - wanted["mlm_loss"].item()) < 1e-4
        states = _states(model, wanted["tokens"])
        assert relative(states, wanted["encodings_unmasked"]) < TOLERANCE
        assert relative(scbert.class_logits(model, states), wanted["classifier_logits"]) < TOLERANCE


def test_recorded_states_of_cells_alone(goldens: Path) -> None:
    golden = goldens / "scbert"
    tokens, wanted = (
        load_file(golden / "io.safetensors"),
        load_file(golden / "io_one_cell_per_batch.safetensors"),
    )
    model = scbert.load(golden)
    assert relative(_states(model, tokens["masked_tokens"]), wanted["encodings"]) < TOLERANCE
    assert relative(_states(model, tokens["tokens"]), wanted["encodings_unmasked"]) < TOLERANCE
    # The two rules are told apart.
    published = load_file(golden / "io.safetensors")["encodings"]
    assert relative(_states(model, tokens["masked_tokens"]), published) > 3 * TOLERANCE


@pytest.mark.parametrize(
    ("switch", "value"), [("activation", "gelu_tanh"), ("activation", "relu"), ("norm_eps", 1e-3)]
)
def test_each_switch_matters(goldens: Path, switch: str, value: object) -> None:
    from biolm.core import Transformer

    golden = goldens / "scbert"
    model, wanted = scbert.load(golden, stabiliser="batch"), load_file(golden / "io.safetensors")
    core = Transformer(replace(model.core.config, **{switch: value}))
    core.load_state_dict(model.core.state_dict())
    model.core = core.eval()
    assert relative(_states(model, wanted["masked_tokens"]), wanted["encodings"]) > 2 * TOLERANCE


def test_the_table_of_positions_is_float64_in_the_file(goldens: Path) -> None:
    """It is read to the last bit of float32; rounded further, the recorded states are missed."""
    golden = goldens / "scbert"
    held = torch.load(golden / "panglao_pretrain_1.pth", weights_only=True)["model_state_dict"]
    table = held["pos_emb.emb.weight"]
    assert table.dtype == torch.float64
    model, wanted = scbert.load(golden, stabiliser="batch"), load_file(golden / "io.safetensors")
    weight = model.core.embeddings.token.weight
    assert torch.equal(weight, table.float())
    assert relative(_states(model, wanted["tokens"]), wanted["encodings_unmasked"]) < TOLERANCE
    with torch.no_grad():
        weight.copy_(table.half())
    assert relative(_states(model, wanted["tokens"]), wanted["encodings_unmasked"]) > 2 * TOLERANCE


def test_from_a_file_by_folder(folder: Path, tmp_path: Path) -> None:
    import anndata

    assert resolve(folder)[0].name == "scbert"
    held = load_file(folder / "io.safetensors")
    names = (folder / "genes.txt").read_text().split()
    order = np.random.default_rng(0).permutation(len(names))
    adata = anndata.AnnData(held["counts"].numpy()[:, order].astype(np.float32))
    adata.var_names = [names[i] for i in order]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    model = scbert.load(folder)
    wanted = load_file(folder / "io_one_cell_per_batch.safetensors")["encodings_unmasked"][:, :-1].mean(1)
    made = embed(tmp_path / "cells.h5ad", model=folder, device="cpu")
    assert relative(torch.from_numpy(made.obsm["X_scbert"]), wanted) < TOLERANCE
    assert made.uns["biolm"]["X_scbert"]["checkpoint"]["options"] == {"stabiliser": "document"}
    assert model.block_rows == 64


def test_without_its_side_files(folder: Path) -> None:
    for name in ("gene2vec.npy", "finetune_best_head_only.pth"):
        (folder / name).unlink()
    model = scbert.load(folder)
    with pytest.raises(ConfigError, match=r"holds no finetune_best\*\.pth"):
        scbert.class_logits(model, torch.zeros(1, 121, 40))


def test_slices_of_a_long_cell_change_nothing(goldens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import biolm.core.performer as performer

    golden = goldens / "scbert"
    model, held = scbert.load(golden), load_file(golden / "io.safetensors")
    whole = _states(model, held["tokens"])
    monkeypatch.setattr(performer, "_LARGEST", 4 * 266 * 10)
    assert relative(_states(model, held["tokens"]), whole) < TOLERANCE


def test_an_empty_cell(goldens: Path) -> None:
    model = scbert.load(goldens / "scbert")
    names = np.array(model.vocabulary.genes)
    match = model.vocabulary.match({"index": names})
    empty = CellBlock(0, np.zeros(0), np.zeros(0, np.int32), np.array([0, 0]), len(names))
    assert np.isfinite(model.embed(empty, match, EmbedOptions(device="cpu"))).all()
    assert not model.tokenize(empty, match).values.any()


def test_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="stabiliser must be one of document, batch"):
        scbert.load(folder, stabiliser="head")
    names = (folder / "genes.txt").read_text()
    (folder / "genes.txt").write_text(names + "\nNEWGENE\n")
    with pytest.raises(CheckpointError, match="lists 121 genes but"):
        scbert.load(folder)
    (folder / "gene2vec.npy").unlink()
    with pytest.raises(CheckpointError, match=r"lists 121 genes but .*knows 120"):
        scbert.load(folder)
    (folder / "genes.txt").unlink()
    with pytest.raises(CheckpointError, match=r"holds no genes\.txt"):
        scbert.load(folder)
    (folder / "genes.txt").write_text(names)
    path = folder / "panglao_pretrain_1.pth"
    held = torch.load(path, weights_only=True)
    weights = held["model_state_dict"]
    held["model_state_dict"] = {
        k: v for k, v in weights.items() if k != "performer.net.layers.1.1.fn.fn.w2.bias"
    }
    torch.save(held, path)
    with pytest.raises(CheckpointError, match=r"missing layers\.1\.mlp\.down\.bias"):
        scbert.load(folder)
    held["model_state_dict"] = weights | {"surprise": torch.ones(1)}
    torch.save(held, path)
    with pytest.raises(CheckpointError, match="no place for: surprise"):
        scbert.load(folder)
    torch.save({"model_state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="holds no Performer"):
        scbert.load(folder)
