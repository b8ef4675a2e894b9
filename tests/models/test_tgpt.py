"""tGPT: recorded tokens, states and vectors, both layouts of a folder, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from perturb import relative
from safetensors.torch import load_file

from biolm.batch import Batch
from biolm.core import pool
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.registry import resolve
from biolm.models.systems import tgpt
from biolm.tasks.embed import embed
from biolm.vocab.published import published_match

TOLERANCE = 2e-5


def _cells(folder: Path) -> tuple[list[str], CellBlock]:
    """The recorded rankings as counts that fall along each of them; columns in the order first seen."""
    sentences = [line.split() for line in (folder / "gene_rankings.txt").read_text().splitlines()]
    names = list(dict.fromkeys(name for sentence in sentences for name in sentence))
    column = {name: i for i, name in enumerate(names)}
    data = np.concatenate([np.arange(len(sentence), 0, -1.0) for sentence in sentences])
    indices = np.array([column[name] for sentence in sentences for name in sentence], np.int32)
    indptr = np.cumsum([0, *map(len, sentences)])
    return names, CellBlock(0, data, indices, indptr, len(names))


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Path:
    return goldens / "tgpt"


def test_recorded_tokens_states_and_vectors(golden: Path) -> None:
    model = tgpt.load(golden)
    wanted = load_file(golden / "io.safetensors")
    names, block = _cells(golden)
    match = published_match(model.vocabulary, model.preprocessor.published, {"index": np.array(names)})
    tokens = model.tokenize(block, match)
    keep = wanted["attention_mask"].bool()
    batch = Batch.from_padded(wanted["input_ids"], keep)
    assert np.array_equal(tokens.ids, batch.ids.numpy())
    assert np.array_equal(tokens.lengths, keep.sum(1).numpy())
    output = model(batch, hidden_states=True)
    for i, state in enumerate(output.hidden_states):
        assert relative(state, wanted[f"hidden_states.{i}"][keep]) < TOLERANCE
    assert relative(output.to_padded().logits[3][keep[3]], wanted["logits_row3"][keep[3]]) < TOLERANCE
    logits, seen = output.to_padded().logits, keep[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits[:, :-1][seen], wanted["input_ids"][:, 1:][seen])
    assert abs(loss.item() - wanted["causal_lm_loss"].item()) < 1e-4
    for budget in (70, 5000):
        found = torch.from_numpy(model.embed(block, match, EmbedOptions(batch_tokens=budget, device="cpu")))
        assert relative(found, wanted["embedding"]) < TOLERANCE


@pytest.mark.parametrize("detail", ["end in the mean", "begin in the mean", "exact gelu", "<unk> left out"])
def test_each_detail_matters(golden: Path, detail: str) -> None:
    model = tgpt.load(golden, unknown="skip" if detail.startswith("<unk>") else "keep")
    wanted = load_file(golden / "io.safetensors")["embedding"]
    if detail == "exact gelu":
        from biolm.core import Transformer

        core = Transformer(replace(model.core.config, activation="gelu"))
        core.load_state_dict(model.core.state_dict())
        model.core = core.eval()
    names, block = _cells(golden)
    match = published_match(model.vocabulary, model.preprocessor.published, {"index": np.array(names)})
    tokens = model.tokenize(block, match)
    batch = Batch.from_tokens(tokens)
    skip = {"end in the mean": (1, 0), "begin in the mean": (0, 1)}.get(detail, (1, 1))
    vectors = pool(model(batch, logits=False).last_hidden_state, batch.offsets, "mean", skip=skip)
    assert relative(vectors, wanted) > 3 * TOLERANCE


def test_from_a_file_by_folder(golden: Path, tmp_path: Path) -> None:
    import anndata
    from scipy.sparse import csr_matrix

    one = tmp_path / "model"
    shutil.copytree(golden / "checkpoint", one)
    shutil.copy(golden / "tokenizer" / "tokenizer.json", one)
    for folder in (golden, golden / "checkpoint", one):
        assert resolve(folder)[0].name == "tgpt"
    names, block = _cells(golden)
    matrix = csr_matrix((block.data, block.indices, block.indptr), (len(block), block.n_genes))
    adata = anndata.AnnData(matrix)
    adata.var_names = names
    adata.write_h5ad(tmp_path / "cells.h5ad")
    wanted = load_file(golden / "io.safetensors")["embedding"]
    for match in ("resolve", "published"):
        made = embed(tmp_path / "cells.h5ad", model=one, match=match, device="cpu")
        assert relative(torch.from_numpy(made.obsm["X_tgpt"]), wanted) < TOLERANCE
    assert made.uns["biolm"]["X_tgpt"]["checkpoint"]["options"] == {"unknown": "keep", "genes": 62}


def test_resolves_what_underscores_took(golden: Path) -> None:
    model = tgpt.load_tokenizer(golden)
    assert {"MT-ND4L", "FGD5-AS1", "AP000318.1"} <= set(model.vocabulary.genes)
    assert not [gene for gene in model.vocabulary.genes if "_" in gene]


def test_an_empty_cell_is_a_vector_of_zeros(golden: Path) -> None:
    model = tgpt.load(golden)
    names, block = _cells(golden)
    match = published_match(model.vocabulary, model.preprocessor.published, {"index": np.array(names)})
    empty = CellBlock(0, block.data[:0], block.indices[:0], np.array([0, 0]), block.n_genes)
    assert model.tokenize(empty, match).ids.tolist() == [1, 2]
    assert not model.embed(empty, match, EmbedOptions(device="cpu")).any()


def test_refused(golden: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(golden, folder)
    with pytest.raises(ConfigError, match="unknown must be one of keep, skip"):
        tgpt.load(folder, unknown="drop")
    with pytest.raises(ConfigError, match="genes must lie between 1 and 94"):
        tgpt.load(folder, genes=126)
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["NEWGENE"] = 404
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"goes up to 404 but config\.json knows 0 to 403"):
        tgpt.load(folder)
    del content["model"]["vocab"]["</s>"]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="lacks </s>"):
        tgpt.load(folder)
    path.unlink()
    assert not tgpt.recognises(folder)
