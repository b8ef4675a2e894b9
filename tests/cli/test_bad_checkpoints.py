"""Checkpoints that do not fit, and hostile ones, through the command line: one sentence, nothing run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.io.cells import open_cells


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shipped_cells: Path) -> Path:
    """A small Geneformer over genes of the shipped cells, as the published one is laid out."""
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("geneformer")
    with open_cells(shipped_cells / "pbmc68k_reduced_counts_700.h5ad") as source:
        genes = sorted({str(name) for name in source.gene_columns()["ensembl_id"] if str(name)})
    tokens = {name: number for number, name in enumerate(["<pad>", "<mask>", *genes])}
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=64,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    (folder / "token_dictionary.json").write_text(json.dumps(tokens))
    (folder / "gene_median_dictionary.json").write_text(json.dumps(dict.fromkeys(genes, 1.0)))
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import shutil

    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(whole, tmp_path / "model"))


def embed(shipped_cells: Path) -> tuple[int, list[str]]:
    cells = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    arguments = ["embed", str(cells), "-m", "model", "-o", "out.npy", "--batch-tokens", "4096"]
    result = CliRunner().invoke(app, arguments)
    lines = result.stderr.splitlines()
    return result.exit_code, [line for line in lines if not line.startswith(("genes:", "Warning:", "wrote"))]


def refused(shipped_cells: Path) -> str:
    before = sorted(path.name for path in Path().iterdir())
    status, lines = embed(shipped_cells)
    assert status == 1, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    assert sorted(path.name for path in Path().iterdir()) == before
    return lines[0]


def change(folder: Path, edit) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_the_whole_checkpoint_embeds(folder, shipped_cells):
    assert embed(shipped_cells) == (0, [])


KEY = "bert.encoder.layer.1.attention.self.key.weight"


def test_a_missing_key_is_named(folder, shipped_cells):
    change(folder, lambda tensors: tensors.pop(KEY))
    assert "layer.1" in refused(shipped_cells)


def test_an_extra_key_is_named(folder, shipped_cells):
    change(folder, lambda tensors: tensors.update({"bert.encoder.layer.1.adapter.weight": torch.zeros(2)}))
    assert "bert.encoder.layer.1.adapter.weight" in refused(shipped_cells)


def test_a_key_of_another_shape_is_named(folder, shipped_cells):
    change(folder, lambda tensors: tensors.update({KEY: torch.zeros(16, 8)}))
    assert "(16, 8)" in refused(shipped_cells)


def test_truncated_weights(folder, shipped_cells):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert "model.safetensors" in refused(shipped_cells)


def test_no_weights(folder, shipped_cells):
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refused(shipped_cells)


def test_no_medians(folder, shipped_cells):
    (folder / "gene_median_dictionary.json").unlink()
    assert "median_dictionary" in refused(shipped_cells)


class Hostile:
    def __reduce__(self):
        return exec, ("open('ran', 'w')",)


def test_a_hostile_gene_dictionary_runs_nothing(folder, shipped_cells):
    (folder / "token_dictionary.json").unlink()
    (folder / "token_dictionary.pkl").write_bytes(pickle.dumps({"ENSG1": Hostile()}))
    assert "token_dictionary.pkl" in refused(shipped_cells)
    assert not Path("ran").exists()


def test_hostile_weights_run_nothing(folder, shipped_cells):
    (folder / "model.safetensors").unlink()
    torch.save({KEY: Hostile()}, folder / "pytorch_model.bin")
    assert "pytorch_model.bin" in refused(shipped_cells)
    assert not Path("ran").exists()


def test_a_config_that_is_no_json(folder, shipped_cells):
    (folder / "config.json").write_text("{")
    assert "config.json" in refused(shipped_cells)


def test_a_device_that_is_not_there(folder, shipped_cells):
    cells = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    result = CliRunner().invoke(
        app, ["embed", str(cells), "-m", "model", "-o", "x.npy", "--device", "cuda:77"]
    )
    assert result.exit_code == 2
    assert "device" in result.stderr.splitlines()[-1]
    assert not Path("x.npy").exists()
