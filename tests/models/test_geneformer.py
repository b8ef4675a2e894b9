"""Geneformer: recorded results, transformers as the reference, folders, and what is refused."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import small_systems
import torch
from perturb import relative
from safetensors.torch import load_file

from biolm.batch import Batch
from biolm.core import pool
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells import open_cells
from biolm.models.families.hf import from_hf
from biolm.models.model import EmbedOptions
from biolm.models.systems import geneformer

TOLERANCE = 2e-5


@pytest.mark.parametrize("version", ["geneformer_v1", "geneformer_v2"])
def test_recorded_states_logits_and_embeddings(goldens: Path, version: str) -> None:
    core = from_hf(goldens / version)
    wanted = load_file(goldens / version / "io.safetensors")
    keep = wanted["attention_mask"].bool()
    batch = Batch.from_padded(wanted["input_ids"], keep)
    with torch.inference_mode():
        output = core(batch, hidden_states=True)
    padded = output.to_padded()
    for i, state in enumerate(padded.hidden_states):
        assert relative(state[keep], wanted[f"hidden_states.{i}"][keep]) < TOLERANCE
    first = keep[:3]
    assert relative(padded.logits[:3][first], wanted["logits_first3"][first]) < TOLERANCE
    skip = (1, 1) if version.endswith("2") else (0, 0)
    for name, state in (("layer-1", -2), ("layer0", -1)):
        vectors = pool(output.hidden_states[state], batch.offsets, "mean", skip=skip)
        assert relative(vectors, wanted[f"cell_emb_{name}"]) < TOLERANCE
        if f"cls_emb_{name}" in wanted:
            cls = pool(output.hidden_states[state], batch.offsets, "cls")
            assert relative(cls, wanted[f"cls_emb_{name}"]) < TOLERANCE


@pytest.fixture(scope="module", params=["v1", "v2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("geneformer")
    small_systems.geneformer(place, version=request.param)
    return place


def test_cells_to_vectors_equals_transformers(folder: Path, shipped_cells: Path) -> None:
    from transformers import BertModel

    model = geneformer.load(folder)
    v2 = model.preprocessor.special == (1, 1)
    with open_cells(shipped_cells / "pbmc68k_reduced_counts_700.h5ad") as source:
        match = model.vocabulary.match(source.gene_columns())
        block = next(source.blocks(40))
    tokens = model.tokenize(block, match)
    assert max(tokens.lengths) > 100
    assert min(tokens.lengths) < max(tokens.lengths)
    reference = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    wanted = {"mean": [], "cls": []}
    for i in range(len(tokens)):
        with torch.inference_mode():
            states = reference(torch.from_numpy(tokens[i].ids).long()[None], output_hidden_states=True)
        state = states.hidden_states[-2][0]
        wanted["mean"].append((state[1:-1] if v2 else state).mean(0))
        wanted["cls"].append(state[0])
    assert model.pools[0] == ("cls" if v2 else "mean")
    for how, vectors in wanted.items():
        for budget in (100, 5000):
            found = model.embed(block, match, EmbedOptions(pool=how, batch_tokens=budget, device="cpu"))
            assert relative(torch.from_numpy(found), torch.stack(vectors)) < TOLERANCE


def test_other_hidden_states_and_pools(folder: Path, shipped_cells: Path) -> None:
    model = geneformer.load(folder)
    with open_cells(shipped_cells / "pbmc68k_reduced_counts_700.h5ad") as source:
        match = model.vocabulary.match(source.gene_columns())
        block = next(source.blocks(5))

    def embed(**options: object) -> np.ndarray:
        return model.embed(block, match, EmbedOptions(device="cpu", **options))  # type: ignore[arg-type]

    assert np.allclose(embed(), embed(hidden_state=-2))
    assert not np.allclose(embed(), embed(hidden_state=-1), atol=0.1)
    assert np.allclose(embed(hidden_state=3), embed(hidden_state=-1))
    assert np.allclose(np.linalg.norm(embed(pool="mean_l2"), axis=1), 1)
    with pytest.raises(ConfigError, match="pool must be one of"):
        embed(pool="median")
    with pytest.raises(ConfigError, match="hidden state must lie"):
        embed(hidden_state=9)


def test_dictionaries_of_the_published_layout(folder: Path, tmp_path: Path) -> None:
    """The repository holds a folder a model, and the dictionaries of all versions elsewhere."""
    model = tmp_path / "Geneformer-V2-104M"
    package = tmp_path / "geneformer" / "gene_dictionaries_30m"
    model.mkdir()
    package.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (model / name).write_bytes((folder / name).read_bytes())
    tokens = json.loads((folder / "token_dictionary.json").read_text())
    with gzip.open(package / "token_dictionary_gc30M.json.gz", "wt") as file:
        json.dump(tokens, file)
    medians = (folder / "gene_median_dictionary.pkl").read_bytes()
    (package / "gene_median_dictionary_gc30M.pkl").write_bytes(medians)
    wrong = tmp_path / "geneformer" / "token_dictionary_gc104M.json"
    wrong.write_text(json.dumps(tokens | {"ENSG9": len(tokens)}))
    assert geneformer.recognises(model)
    assert len(geneformer.load(model).vocabulary) == len(geneformer.load(folder).vocabulary)


def test_refused_folders(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert not geneformer.recognises(tmp_path)
    with pytest.raises(CheckpointError, match="token dictionary"):
        geneformer.load(tmp_path)
    tokens = json.loads((folder / "token_dictionary.json").read_text())
    (tmp_path / "token_dictionary.json").write_text(json.dumps(tokens | {"ENSG9": len(tokens)}))
    with pytest.raises(CheckpointError, match="same version"):
        geneformer.load(tmp_path)
    (tmp_path / "token_dictionary.json").write_text(json.dumps(tokens))
    with pytest.raises(CheckpointError, match="median_dictionary"):
        geneformer.load(tmp_path)


def test_hostile_dictionary_runs_nothing(folder: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (Path.write_text, (tmp_path / "ran", "yes"))  # type: ignore[return-value]

    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "gene_median_dictionary.pkl").write_bytes(pickle.dumps({"a": Hostile()}))
    with pytest.raises(CheckpointError):
        geneformer.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_tokenizer_needs_no_torch(folder: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, pathlib; from biolm.models.systems import geneformer; "
        f"geneformer.load_tokenizer(pathlib.Path({str(folder)!r})); "
        "print([m for m in ('torch', 'anndata', 'scanpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
