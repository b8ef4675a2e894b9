"""scFoundation: recorded inputs, states, vectors and expression, depth tokens, and what is refused."""

from __future__ import annotations

import json
import shutil
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
from biolm.models.systems import scfoundation
from biolm.models.systems.scfoundation_model import Scfoundation
from biolm.tasks.embed import embed
from biolm.vocab.match import GeneMatch

TOLERANCE = 2e-5
MODES = ["t4", "f2", "a1", "t4.5", "f1", "a0.5"]


@pytest.fixture
def folder(goldens: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    for path in (goldens / "scfoundation").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path


@pytest.fixture(scope="module")
def wanted(goldens: Path) -> dict[str, Tensor]:
    assert json.loads((goldens / "scfoundation" / "tgthighres.json").read_text()) == MODES
    return load_file(goldens / "scfoundation" / "io.safetensors")


def _block(wanted: dict[str, Tensor], cell: int | None = None) -> CellBlock:
    counts = wanted["counts"].numpy() if cell is None else wanted["counts"].numpy()[cell : cell + 1]
    rows, columns = counts.nonzero()
    indptr = np.searchsorted(rows, np.arange(len(counts) + 1))
    return CellBlock(0, counts[rows, columns], columns.astype(np.int32), indptr, counts.shape[1])


def _match(model: Scfoundation) -> GeneMatch:
    return model.vocabulary.match({"index": np.array(model.vocabulary.genes)})


def _recorded(x: Tensor, seen: Tensor) -> Batch:
    """The recorded inputs as a packed batch."""
    ids = torch.arange(x.shape[1]).expand(len(x), -1)
    return Batch.from_padded(ids, seen, values=x.float())


@pytest.mark.parametrize("cell", range(6))
def test_recorded_inputs_and_vectors_by_depth(goldens: Path, wanted: dict[str, Tensor], cell: int) -> None:
    golden = goldens / "scfoundation"
    for vector, name in (("all", "cell_embedding_all"), ("max", "cell_embedding_maxpool")):
        model = scfoundation.load(golden, tgthighres=MODES[cell], vector=vector)
        block, match = _block(wanted, cell), _match(model)
        tokens = model.tokenize(block, match)
        x = wanted["x"][cell]
        assert np.array_equal(tokens.ids, x.nonzero().flatten().numpy())
        assert relative(torch.from_numpy(tokens.values).double(), x[x != 0]) < 1e-6
        found = torch.from_numpy(model.embed(block, match, EmbedOptions(device="cpu")))
        assert relative(found, wanted[name][cell : cell + 1]) < TOLERANCE
        if cell < 2:
            states = model(Batch.from_tokens(tokens), logits=False).last_hidden_state
            assert relative(states, wanted[f"cell{cell}/encoder_out"][0]) < TOLERANCE


def test_recorded_batch_and_single_cells(goldens: Path, wanted: dict[str, Tensor]) -> None:
    golden = goldens / "scfoundation"
    batch = _recorded(wanted["batch/decoder_data"], wanted["batch/encoder_labels"])
    model = scfoundation.load(golden, version="gene", stabiliser="batch")
    states = model(batch, logits=False).last_hidden_state
    assert relative(states, wanted["batch/encoder_out"][~wanted["batch/padding_label"]]) < TOLERANCE
    vectors, expression = model.decode(batch)
    assert relative(vectors, wanted["batch/gene_embedding"]) < TOLERANCE
    assert relative(expression, wanted["batch/gene_expression"]) < TOLERANCE
    assert relative(vectors, wanted["single/gene_embedding"]) > 3 * TOLERANCE
    for i, layer in enumerate(model.decoder.layers):
        assert torch.equal(layer.attention.projection, wanted[f"projection_matrix.{i}"])
    alone = scfoundation.load(golden, version="gene")
    assert relative(alone.decode(batch)[0], wanted["single/gene_embedding"]) < TOLERANCE


def test_recorded_discretised_values(goldens: Path, wanted: dict[str, Tensor]) -> None:
    value = scfoundation.load(goldens / "scfoundation", version="gene").core.embeddings.value
    with torch.inference_mode():
        assert relative(value.weights(wanted["autobin/values"][0]), wanted["autobin/weight"][0]) < TOLERANCE
        assert relative(value(wanted["autobin/values"][0]), wanted["autobin/embedding"][0]) < TOLERANCE


def test_recorded_masked_step(goldens: Path, wanted: dict[str, Tensor]) -> None:
    model = scfoundation.load(goldens / "scfoundation", version="gene", stabiliser="batch")
    x = wanted["masked/x"]
    assert torch.equal((x != 0) & (x != model.ids.mask), wanted["masked/encoder_labels"])
    _, found = model.decode(_recorded(x, wanted["masked/encoder_labels"]), x)
    assert relative(found, wanted["masked/prediction"]) < TOLERANCE
    chosen = wanted["masked/mask"]
    error = (found - wanted["batch/decoder_data"])[chosen].double().square().mean()
    assert abs(error - wanted["masked/mse_on_masked"]).item() < 1e-4


@torch.inference_mode()
def test_the_decoder_masks_nothing(goldens: Path, wanted: dict[str, Tensor]) -> None:
    """The published decoder ignores its mask of padding: genes of count 0 are keys as all others."""
    model = scfoundation.load(goldens / "scfoundation", version="gene")
    batch = _recorded(wanted["batch/decoder_data"][:1], wanted["batch/encoder_labels"][:1])
    states = model(batch, logits=False).last_hidden_state
    x = model.core.embeddings.value(torch.zeros(182))
    x[batch.ids] = states
    x = x + model.core.embeddings.token.weight[:182]
    right = wanted["single/gene_embedding"][0]
    assert relative(model.decoder(x, 1)[0, :180], right) < TOLERANCE
    masked = model.decoder(x[batch.ids], 1)[0, :-2]
    assert relative(masked, right[batch.ids[:-2]]) > 1e-3


@pytest.mark.parametrize(
    "detail", ["leaky", "alpha", "relu", "norm of the encoder", "second norm", "version", "S before T"]
)
def test_each_detail_matters(
    goldens: Path, wanted: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, detail: str
) -> None:
    from dataclasses import replace

    from biolm.core import Transformer

    model = scfoundation.load(
        goldens / "scfoundation", version="cell" if detail == "version" else "gene", stabiliser="batch"
    )
    if detail == "leaky":
        plain = torch.nn.functional.leaky_relu
        monkeypatch.setattr(torch.nn.functional, "leaky_relu", lambda x, _: plain(x, 0.01))
    if detail == "alpha":
        model.core.embeddings.value.alpha = 0.0
    if detail == "second norm":
        model.decoder.second_norm = torch.nn.Identity()
    if detail == "norm of the encoder":
        core = Transformer(replace(model.core.config, norms={}))
        core.load_state_dict(model.core.state_dict(), strict=False)
        model.core = core.eval()
    if detail == "relu":
        core = Transformer(replace(model.core.config, activation="gelu"))
        core.load_state_dict(model.core.state_dict())
        model.core = core.eval()
    batch = _recorded(wanted["batch/decoder_data"], wanted["batch/encoder_labels"])
    if detail == "S before T":
        batch.ids[batch.ids >= 180] = 361 - batch.ids[batch.ids >= 180]
    assert relative(model.decode(batch)[1], wanted["batch/gene_expression"]) > 3 * TOLERANCE


def test_from_a_file_by_folder(folder: Path, wanted: dict[str, Tensor], tmp_path: Path) -> None:
    import anndata

    assert resolve(folder)[0].name == "scfoundation"
    names = (folder / "genes.txt").read_text().split()
    order = np.random.default_rng(0).permutation(len(names))
    adata = anndata.AnnData(wanted["counts"].numpy()[:, order].astype(np.float32))
    adata.var_names = [names[i] for i in order]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    (folder / "OS_scRNA_gene_index.180.tsv").write_text(
        "gene_name\tindex\n" + "".join(f"{name}\t{i}\n" for i, name in enumerate(names))
    )
    (folder / "genes.txt").unlink()
    for cell, mode in enumerate(MODES[:2]):
        made = embed(
            tmp_path / "cells.h5ad", model=f"{folder}?tgthighres={mode}", device="cpu", batch_tokens=60
        )
        found = torch.from_numpy(made.obsm["X_scfoundation"])
        assert relative(found[cell], wanted["cell_embedding_all"][cell]) < TOLERANCE
        said = made.uns["biolm"]["X_scfoundation"]["checkpoint"]["options"]
        assert said == {"version": "cell", "tgthighres": mode, "vector": "all", "stabiliser": "document"}


def test_refused(folder: Path) -> None:
    for wrong in (
        {"version": "rna"},
        {"vector": "mean"},
        {"stabiliser": "head"},
        {"tgthighres": "x4"},
        {"tgthighres": "f0"},
    ):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be"):
            scfoundation.load(folder, **wrong)
    with pytest.raises(CheckpointError, match="holds the models gene, cell, not rde"):
        scfoundation.load(folder, version="rde")
    names = (folder / "genes.txt").read_text()
    (folder / "genes.txt").write_text(names + "\nNEWGENE")
    with pytest.raises(CheckpointError, match=r"lists 181 genes but .*knows 180"):
        scfoundation.load(folder)
    (folder / "genes.txt").write_text(names)
    held = torch.load(folder / "models.ckpt", weights_only=True)
    del held["cell"]["state_dict"]["model.norm.bias"]
    torch.save(held, folder / "models.ckpt")
    with pytest.raises(CheckpointError, match=r"missing second_norm\.bias"):
        scfoundation.load(folder)
    del held["cell"]["config"]["model_config"]["mae_autobin"]["bin_alpha"]
    torch.save(held, folder / "models.ckpt")
    with pytest.raises(CheckpointError, match="lacks 'bin_alpha'"):
        scfoundation.load(folder)
    (folder / "genes.txt").unlink()
    with pytest.raises(CheckpointError, match=r"OS_scRNA_gene_index\.19264\.tsv"):
        scfoundation.load(folder)
