"""CellLM: recorded states and logits, its padding, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from perturb import relative
from safetensors.torch import load_file
from torch import Tensor

from biolm.batch import Batch, Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.registry import resolve
from biolm.models.systems import celllm
from biolm.models.systems.celllm_model import Celllm
from biolm.tasks.embed import embed
from biolm.vocab.match import GeneMatch

TOLERANCE = 2e-5


@pytest.fixture
def folder(goldens: Path, tmp_path: Path) -> Path:
    """The recorded checkpoint, with a list of genes: the recording names none."""
    for path in (goldens / "celllm").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    (tmp_path / "genes.txt").write_text("\n".join(f"GENE{i}" for i in range(150)))
    return tmp_path


def _tokens(folder: Path, model: Celllm, *, rest: bool = True) -> tuple[Tokens, CellBlock]:
    """Tokens of the recorded cells, from their logarithms back to counts per 10,000.

    The recorded totals are over more genes than the model has: the last column stands for those.
    """
    values = np.expm1(load_file(folder / "io.safetensors")["x"].double().numpy() * np.log(2))
    values = np.append(values, 1e4 * rest - rest * values.sum(1, keepdims=True), axis=1)
    rows, columns = values.nonzero()
    indptr = np.searchsorted(rows, np.arange(len(values) + 1))
    block = CellBlock(0, values[rows, columns], columns.astype(np.int32), indptr, 151)
    return model.tokenize(block, _match(model)), block


def _match(model: Celllm) -> GeneMatch:
    return model.vocabulary.match({"index": np.array([*model.vocabulary.genes, "OTHER"])})


def _padded(model: Celllm, tokens: Tokens, length: int) -> tuple[Tensor, Tensor]:
    """Last states ``(b, s, d)`` of genes and cls, and where they lie."""
    batch = Batch.from_tokens(tokens)
    states = model(batch, logits=False).last_hidden_state
    out, keep = (
        torch.zeros(len(batch), length, states.shape[1]),
        torch.zeros(len(batch), length, dtype=torch.bool),
    )
    for cell, (start, end) in enumerate(zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)):
        own = np.arange(start, end)[tokens.segments[start:end] == 0]
        out[cell, : len(own)], keep[cell, : len(own)] = states[own], True
    return out, keep


@pytest.mark.parametrize(
    ("stabiliser", "name"), [("document", "encodings_one_cell_per_batch"), ("batch", "encodings")]
)
def test_recorded_states(folder: Path, stabiliser: str, name: str) -> None:
    wanted, model = load_file(folder / "io.safetensors"), celllm.load(folder, stabiliser=stabiliser)
    tokens, _ = _tokens(folder, model)
    found, keep = _padded(model, tokens, 90)
    ids = np.where(tokens.segments == 0, tokens.ids, -1)
    assert np.array_equal(ids[ids >= 0], wanted["gene_positions"][keep].numpy())
    assert torch.equal(keep, wanted["gene_positions"] != 151)
    assert relative(found, wanted[name]) < TOLERANCE
    if stabiliser == "batch":
        with torch.inference_mode():
            logits = model.bin_head(found)
        # Padded rows are zeroed behind the norm, so their logits are the bias alone.
        assert relative(logits, wanted["logits"]) < TOLERANCE
    for i, layer in enumerate(model.core.layers):
        assert torch.equal(layer.attention.projection, wanted[f"projection_matrix.{i}"])


def test_the_total_is_that_of_the_file(folder: Path) -> None:
    model = celllm.load(folder)
    tokens, _ = _tokens(folder, model)
    alone, _ = _tokens(folder, model, rest=False)
    assert not np.array_equal(tokens.values, alone.values)
    assert np.array_equal(tokens.ids, alone.ids)


@pytest.mark.parametrize("options", [{"padding": "none"}, {"max_seq_len": 89}, {"max_seq_len": 300}])
def test_padding_matters(folder: Path, options: dict[str, object]) -> None:
    wanted = load_file(folder / "io.safetensors")["encodings_one_cell_per_batch"][1, 0]
    model = celllm.load(folder, **options)  # type: ignore[arg-type]
    tokens, _ = _tokens(folder, model)
    found, _ = _padded(model, tokens, 300)
    assert relative(found[1, 0], wanted) > 3 * TOLERANCE


def test_without_padding_the_longest_sequence_does_not_matter(folder: Path) -> None:
    vectors = []
    for longest in (90, 5000):
        model = celllm.load(folder, padding="none", max_seq_len=longest)
        _, block = _tokens(folder, model)
        vectors.append(model.embed(block, _match(model), EmbedOptions(device="cpu")))
    assert np.allclose(vectors[0], vectors[1], atol=1e-5)


def test_from_a_file_by_folder(folder: Path, tmp_path: Path) -> None:
    import anndata

    assert resolve(folder)[0].name == "celllm"
    wanted = load_file(folder / "io.safetensors")["encodings_one_cell_per_batch"]
    model = celllm.load(folder)
    _, block = _tokens(folder, model)
    whole = np.zeros((6, 151), np.float32)
    whole[np.repeat(np.arange(6), np.diff(block.indptr)), block.indices] = block.data
    adata = anndata.AnnData(whole)
    adata.var_names = [*model.vocabulary.genes, "OTHER"]
    adata.write_h5ad(tmp_path / "cells.h5ad")

    def found(**options: object) -> Tensor:
        made = embed(tmp_path / "cells.h5ad", model=folder, device="cpu", allow_normalised=True, **options)
        said = made.uns["biolm"]["X_celllm"]["checkpoint"]["options"]
        assert said == {"padding": "published", "max_seq_len": 90, "stabiliser": "document"}
        return torch.from_numpy(made.obsm["X_celllm"])

    assert relative(found(), wanted[:, 0]) < TOLERANCE
    means = [
        wanted[i, 1 : 1 + min(n, 89)].mean(0) for i, n in enumerate((np.diff(block.indptr) - 1).tolist())
    ]
    assert relative(found(pool="mean", batch_tokens=100), torch.stack(means)) < TOLERANCE


def test_refused(folder: Path) -> None:
    for wrong in ({"padding": "some"}, {"stabiliser": "head"}, {"max_seq_len": 1}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be"):
            celllm.load(folder, **wrong)  # type: ignore[arg-type]
    names = (folder / "genes.txt").read_text()
    (folder / "genes.txt").write_text(names + "\nNEWGENE")
    with pytest.raises(CheckpointError, match=r"lists 151 genes but .*knows 150"):
        celllm.load(folder)
    (folder / "genes.txt").unlink()
    with pytest.raises(CheckpointError, match=r"holds no genes\.txt"):
        celllm.load(folder)
