from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.errors import CheckpointError, ConfigError
from biolm.resources import shipped
from biolm.tasks.inspect import Matrix, inspect_checkpoint

GENES = [f"ENSG{number:011d}" for number in range(20)]


@pytest.fixture
def geneformer(tmp_path: Path) -> Path:
    """A folder laid out as Geneformer, with a file of other tensors beside the weights."""
    folder = tmp_path / "geneformer"
    folder.mkdir()
    tokens = {name: number for number, name in enumerate(["<pad>", "<mask>", *GENES])}
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(tokens)}))
    (folder / "token_dictionary.json").write_text(json.dumps(tokens))
    (folder / "gene_median_dictionary.json").write_text(json.dumps(dict.fromkeys(GENES, 1.0)))
    weights = {"bert.embeddings.word_embeddings.weight": np.zeros((22, 4), np.float32)}
    for layer in range(12):
        place = f"bert.encoder.layer.{layer}"
        weights[f"{place}.attention.self.query.weight"] = np.zeros((4, 4), np.float32)
        weights[f"{place}.attention.output.LayerNorm.weight"] = np.zeros(4, np.float32)
        weights[f"{place}.intermediate.dense.weight"] = np.zeros((8, 4), np.float32)
    weights["cls.predictions.bias"] = np.zeros(22, np.float32)
    save_file(weights, folder / "model.safetensors")
    save_file({"optimizer": np.zeros(1000, np.float32)}, folder / "state.safetensors")
    return folder


def test_layers_are_put_together_and_counted(geneformer):
    report = inspect_checkpoint(geneformer)
    shapes = {matrix.name: (matrix.count, matrix.shape) for matrix in report.matrices}
    assert shapes["bert.encoder.layer.*.attention.self.query.weight"] == (12, (4, 4))
    assert shapes["bert.embeddings.word_embeddings.weight"] == (1, (22, 4))
    assert report.parameters == 22 * 4 + 12 * (16 + 4 + 32) + 22
    assert report.roles == {"feed-forward": 384, "attention": 192, "embedding": 88, "norm": 48, "head": 22}
    assert (report.name, report.genes) == ("geneformer", 20)


def test_folders_of_models_without_tokens_name_their_genes(tmp_path: Path) -> None:
    for number, name in enumerate(("cellfactors", "genetext")):
        folder = tmp_path / str(number)
        shutil.copytree(shipped(name), folder)
        report = inspect_checkpoint(folder)
        assert (report.name, report.note) == (name, "")
        assert report.genes == inspect_checkpoint(name).genes > 10_000
        assert report.config == inspect_checkpoint(name).config


def test_hashes_are_those_of_the_files(geneformer):
    report = inspect_checkpoint(geneformer)
    expected = hashlib.sha256((geneformer / "model.safetensors").read_bytes()).hexdigest()
    assert report.hashes["model.safetensors"] == expected
    assert set(report.hashes) == {path.name for path in geneformer.iterdir()}


def test_genes_that_cannot_be_read_are_explained(geneformer):
    (geneformer / "gene_median_dictionary.json").unlink()
    report = inspect_checkpoint(geneformer)
    assert report.genes is None
    assert "median_dictionary" in report.as_text()


def test_command_line_prints_text_or_json(geneformer):
    text = CliRunner().invoke(app, ["inspect", str(geneformer)]).stdout
    assert "12 x (4 x 4) = 192" in text
    assert 'model_type: "bert"' in text
    report = json.loads(CliRunner().invoke(app, ["inspect", str(geneformer), "--json"]).stdout)
    assert report["parameters"] == inspect_checkpoint(geneformer).parameters
    assert report["config"]["vocab_size"] == 22
    assert report["matrices"][0]["role"] == "embedding"


def test_a_built_in_model():
    report = inspect_checkpoint("genetext")
    assert report.genes > 30_000
    assert [(matrix.name, matrix.role) for matrix in report.matrices] == [("vectors", "embedding")]
    assert report.parameters > 1_000_000
    assert all(len(value) == 64 for value in report.hashes.values())


def test_torch_files_are_read_without_running_them(tmp_path):
    (tmp_path / "args.json").write_text("{}")
    (tmp_path / "vocab.json").write_text(json.dumps({"<cls>": 0, "<pad>": 1, "A": 2}))
    torch.save(
        {"model": {"encoder.embedding.weight": torch.zeros(3, 2)}, "epoch": 3}, tmp_path / "best_model.pt"
    )
    report = inspect_checkpoint(tmp_path)
    assert [(matrix.name, matrix.shape) for matrix in report.matrices] == [
        ("model.encoder.embedding.weight", (3, 2))
    ]


class _Hostile:
    def __reduce__(self):
        return exec, ("open('ran', 'w')",)


def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "args.json").write_text("{}")
    (tmp_path / "vocab.json").write_text(json.dumps({"<cls>": 0, "A": 1}))
    torch.save({"weight": _Hostile()}, tmp_path / "best_model.pt")
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damaged_files_are_named(geneformer, name):
    (geneformer / name).write_text("{ not whole")
    with pytest.raises(CheckpointError, match=name):
        inspect_checkpoint(geneformer)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("transformer_encoder.layers.*.self_attn.in_proj_weight", "attention"),
        ("transformer_encoder.layers.*.linear1.weight", "feed-forward"),
        ("transformer_encoder.layers.*.norm1.weight", "norm"),
        ("value_encoder.linear1.weight", "embedding"),
        ("mvc_decoder.W.weight", "head"),
        ("bert.encoder.layer.*.output.dense.weight", "feed-forward"),
        ("model.layers.*.mlp.gate_proj.weight", "feed-forward"),
        ("lm_head.weight", "head"),
        ("something", "other"),
    ],
)
def test_roles(name, role):
    assert Matrix(name=name, shape=(1,), count=1).role == role


def test_a_bare_transformer_is_counted_as_textbooks_do(tmp_path):
    config = {
        "model_type": "bert", "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2,
        "intermediate_size": 16, "num_attention_heads": 2, "max_position_embeddings": 10,
        "hidden_act": "gelu", "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "architectures": ["BertModel"],
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = inspect_checkpoint(tmp_path)
    assert report.name == "transformer"
    # Embeddings of tokens and segments; four attention and two feed-forward matrices a layer.
    assert report.textbook == 30 * 8 + 2 * 8 + 2 * (4 * 64 + 2 * 128)
    assert "bare transformer without genes" in report.note


GPT3 = {
    "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_embd": 12288,
    "n_layer": 96, "n_head": 96, "n_positions": 2048, "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}  # fmt: skip


def test_a_config_alone_is_counted(tmp_path):
    """GPT-3's textbook number, and the exact one beside it."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GPT3))
    report = inspect_checkpoint(path)
    assert report.textbook == 175_181_291_520
    text = report.as_text()
    assert "matrices alone, as textbooks count  175,181,291,520" in text
    assert "exact, tied weights once            174,604,259,328" in text
    assert "query             96 x (12288 x 12288) = 14,495,514,624" in text
    assert report.as_dict()["account"]["exact"] == 174_604_259_328


def test_a_config_of_no_family_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GPT3 | {"model_type": "unheard of"}))
    with pytest.raises(ConfigError, match="no family"):
        inspect_checkpoint(path)
