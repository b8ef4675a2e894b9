"""Sequences from a file to vectors in memory and on disk."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

import biolm
from biolm.adapters.sequences import make_tokenizer
from biolm.adapters.sequences.file import SequenceFile
from biolm.core import CoreConfig, Transformer, hardware
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.sequences import SequenceBlock
from biolm.jobs.sequences import prepare_sequences
from biolm.jobs.settings import EmbedSettings
from biolm.models.sequence_model import SequenceModel
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.tasks.embed import embed_file

LENGTHS = (12, 90, 3, 41, 30, 64)


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    torch.manual_seed(0)
    core = Transformer(CoreConfig(vocab_size=33, d_model=16, n_layers=2, n_heads=2, d_ff=24, position="rope"))
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    preprocessor = SequencePreprocessor(name="small", tokenizer=make_tokenizer("esm"), max_length=50)
    model = SequenceModel(preprocessor, core)
    model.block_rows = 2
    return model


@pytest.fixture(scope="module")
def records() -> dict[str, str]:
    rng = np.random.default_rng(0)
    return {f"p{n}": "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in LENGTHS}


@pytest.fixture
def fasta(tmp_path: Path, records: dict[str, str]) -> Path:
    return write(tmp_path / "proteins.fasta", records)


def write(path: Path, records: dict[str, str]) -> Path:
    path.write_text("".join(f">{name} about {name}\n{text}\n" for name, text in records.items()))
    return path


def alone(model: SequenceModel, text: str) -> np.ndarray:
    """States of one sequence that the model reads at once, straight from the core."""
    tokens = model.tokenize(SequenceBlock.of([text]))
    batch = biolm.Batch.from_tokens(tokens)
    return model(batch, logits=False).last_hidden_state[1:-1].numpy()


def test_rows_are_means_over_residues_in_input_order(model, records, fasta):
    adata = biolm.embed(fasta, model=model)
    assert adata.obs_names.tolist() == list(records)
    assert adata.obs["length"].tolist() == list(LENGTHS)
    assert adata.obs["description"].tolist() == [f"about {name}" for name in records]
    found = adata.obsm["X_small"]
    assert found.dtype == np.float32
    for row, text in enumerate(records.values()):
        if len(text) <= 48:
            np.testing.assert_allclose(found[row], alone(model, text).mean(0), rtol=2e-5, atol=2e-6)
    record = adata.uns["biolm"]["X_small"]
    assert record["checkpoint"]["reads"] == "protein"
    assert record["parameters"]["pool"] == "mean"
    assert record["sequences"] == 6


@pytest.mark.parametrize("how", ["mean", "max", "sum", "cls", "last"])
def test_every_pool_of_windows_is_that_of_merged_states(how, model, records, fasta):
    """Sequences of 90 and 64 residues need windows of 50 tokens."""
    vectors = biolm.embed(fasta, model=model, pool=how).obsm["X_small"]
    states = biolm.embed(fasta, model=model, per_residue=True)
    for row, name in enumerate(records):
        part = states.obsm["X_small"][(states.obs["sequence"] == name).to_numpy()]
        if how in ("mean", "max", "sum"):
            np.testing.assert_allclose(vectors[row], getattr(part, how)(0), rtol=1e-4, atol=1e-5)
        elif len(records[name]) <= 48:
            batch = biolm.Batch.from_tokens(model.tokenize(SequenceBlock.of([records[name]])))
            whole = model(batch, logits=False).last_hidden_state.numpy()
            np.testing.assert_allclose(vectors[row], whole[0 if how == "cls" else -1], rtol=2e-5, atol=2e-6)


def test_every_residue_has_a_row(model, records, fasta):
    adata = biolm.embed(fasta, model=model, per_residue=True)
    assert adata.n_obs == sum(LENGTHS)
    assert adata.obs_names[:2].tolist() == ["p12:1", "p12:2"]
    assert adata.obs["end"].iloc[11] == 12
    short = (adata.obs["sequence"] == "p30").to_numpy()
    np.testing.assert_allclose(
        adata.obsm["X_small"][short], alone(model, records["p30"]), rtol=2e-5, atol=2e-6
    )


def test_formats_hold_the_same(model, fasta, tmp_path):
    wanted = biolm.embed(fasta, model=model)
    for form in ("h5ad", "zarr", "parquet", "npy", "pt"):
        biolm.embed(fasta, model=model, output=tmp_path / f"out.{form}")
    for read, name in ((anndata.read_h5ad, "out.h5ad"), (anndata.read_zarr, "out.zarr")):
        adata = read(tmp_path / name)
        np.testing.assert_array_equal(adata.obsm["X_small"], wanted.obsm["X_small"])
        pd.testing.assert_frame_equal(adata.obs, wanted.obs, check_dtype=False)
        assert adata.uns["biolm"]["X_small"]["rows"] == 6
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table["name"].tolist() == wanted.obs_names.tolist()
    assert table["length"].tolist() == list(LENGTHS)
    np.testing.assert_array_equal(np.stack(table["vector"]), wanted.obsm["X_small"])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted.obsm["X_small"])
    assert json.loads((tmp_path / "out.npy.json").read_text())["names"] == wanted.obs_names.tolist()
    held = torch.load(tmp_path / "out.pt", weights_only=True)
    np.testing.assert_array_equal(held["vectors"].numpy(), wanted.obsm["X_small"])


def test_residues_in_files_know_their_sequence(model, fasta, tmp_path):
    for form in ("parquet", "npy", "pt"):
        biolm.embed(fasta, model=model, output=tmp_path / f"out.{form}", per_residue=True)
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table[["sequence", "start", "end"]].iloc[-1].tolist() == ["p64", 63, 64]
    assert json.loads((tmp_path / "out.npy.json").read_text())["rows"] == list(LENGTHS)
    assert torch.load(tmp_path / "out.pt", weights_only=True)["offsets"].diff().tolist() == list(LENGTHS)


class _Killed(BaseException):
    """Stands for a job that is killed between two blocks."""


def test_an_interrupted_job_goes_on_to_the_same_bytes(model, fasta, tmp_path, monkeypatch):
    settings = EmbedSettings(per_residue=True)
    embed_file(fasta, tmp_path / "whole.npy", model, settings)
    calls = []
    residues = SequenceModel.residues

    def dying(self, block, options, tally=None):
        if len(calls) == 2:
            raise _Killed
        calls.append(block)
        return residues(self, block, options, tally)

    monkeypatch.setattr(SequenceModel, "residues", dying)
    with pytest.raises(_Killed):
        embed_file(fasta, tmp_path / "part.npy", model, settings)
    monkeypatch.undo()
    with pytest.raises(OutputError, match="unfinished run"):
        embed_file(fasta, tmp_path / "part.npy", model, settings)
    with pytest.raises(OutputError, match="options differ"):
        embed_file(
            fasta, tmp_path / "part.npy", model, EmbedSettings(per_residue=True, overlap=3, resume=True)
        )
    again = []

    def counting(self, block, options, tally=None):
        again.append(block)
        return residues(self, block, options, tally)

    monkeypatch.setattr(SequenceModel, "residues", counting)
    embed_file(fasta, tmp_path / "part.npy", model, EmbedSettings(per_residue=True, resume=True))
    assert len(again) == 1
    assert (tmp_path / "part.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert not (tmp_path / "part.npy.partial").exists()


def test_unknown_letters_by_policy(model, tmp_path):
    path = write(tmp_path / "odd.fasta", {"good": "MKVLAARNDC" * 5, "odd": "MKV#LA#" * 5})
    adata = biolm.embed(path, model=model)
    assert adata.n_obs == 2
    assert adata.uns["biolm"]["X_small"]["unknown_letters"] == {"#": 10}
    kept = biolm.embed(path, model=model, letters="skip")
    assert kept.obs_names.tolist() == ["good"]
    assert kept.uns["biolm"]["X_small"]["skipped"] == 1
    np.testing.assert_allclose(kept.obsm["X_small"][0], adata.obsm["X_small"][0], rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="letter '#' at place 4 of record 'odd'"):
        biolm.embed(path, model=model, letters="error")


def test_bad_input_is_named(model, fasta, tmp_path):
    dna = write(tmp_path / "dna.fa", {"one": "ACGT" * 30})
    with pytest.raises(InputError, match="holds DNA sequences but the model reads protein"):
        biolm.embed(dna, model=model)
    with pytest.raises(InputError, match="record 'p90' has 92 tokens but model small reads at most 50"):
        biolm.embed(fasta, model=model, windows=False)
    twice = tmp_path / "twice.fa"
    twice.write_text(">a\nMKVLAW\n>b\nMKVLAW\n>a\nMKV\n")
    with pytest.raises(InputError, match=r"records 1 and 3 of .* are both named 'a'"):
        biolm.embed(twice, model=model)
    assert biolm.embed(twice, model=model, duplicates="keep", output=tmp_path / "t.npy").exists()
    (tmp_path / "empty.fa").write_text(">a\nMKV\n>none\n")
    with pytest.raises(InputError, match="'none', has no letters"):
        biolm.embed(tmp_path / "empty.fa", model=model)


def test_options_of_the_other_kind_are_refused(model, fasta, h5ad):
    with pytest.raises(ConfigError, match="`gene_column` is for cells"):
        biolm.embed(fasta, model=model, gene_column="symbol")
    with pytest.raises(ConfigError, match="`per_residue` is for sequences"):
        biolm.embed(h5ad(), per_residue=True)
    with pytest.raises(ConfigError, match="model cellfactors reads no sequences"):
        biolm.embed(fasta)
    with pytest.raises(ConfigError, match="takes no `pool`"):
        biolm.embed(fasta, model=model, per_residue=True, pool="max")
    with pytest.raises(ConfigError, match="has no pool 'median'"):
        biolm.embed(fasta, model=model, pool="median")
    with pytest.raises(ConfigError, match="cannot have 60"):
        biolm.embed(fasta, model=model, window=60)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory as Linux states it")
def test_memory_does_not_grow_with_the_file(model, tmp_path):
    """Batches of ever other sizes leave nothing behind."""
    torch.manual_seed(0)
    config = CoreConfig(vocab_size=33, d_model=192, n_layers=1, n_heads=2, d_ff=1536, position="rope")
    reader = SequenceModel(
        SequencePreprocessor(name="wide", tokenizer=model.tokenizer, max_length=2100), Transformer(config)
    )
    reader.block_rows = 1
    lengths = np.random.default_rng(0).permutation(np.arange(1200, 2000, 20))
    path = write(tmp_path / "many.fasta", {f"p{n}": "MKVL" * (n // 4) for n in lengths})
    job = prepare_sequences(SequenceFile(path=path, label="many"), reader, EmbedSettings(device="cpu"))
    pages = [
        int(Path("/proc/self/statm").read_text().split()[1])
        for block in job.blocks(0, 40)
        if len(job.compute(block))
    ]
    grown = (max(pages[8:]) - pages[8]) * resource.getpagesize() / 2**20
    assert len(pages) == 40
    assert grown < 12


@pytest.mark.parametrize("per_residue", [False, True])
def test_the_precision_is_decided_on_the_first_records(model, fasta, monkeypatch, tmp_path, per_residue):
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr("biolm.jobs.precision.ENOUGH", 0.9)  # weights of tests are drawn large
    options = {"model": model, "per_residue": per_residue}
    made = biolm.embed(fasta, precision="auto", **options)
    parameters = made.uns["biolm"]["X_small"]["parameters"]
    assert parameters["precision"] == parameters["precision_auto"]["precision"] == "bfloat16"
    assert parameters["precision_auto"]["rows"] == (sum(LENGTHS) if per_residue else len(LENGTHS))
    exact = biolm.embed(fasta, **options).obsm["X_small"]
    rounded = biolm.embed(fasta, precision="bfloat16", **options).obsm["X_small"]
    np.testing.assert_array_equal(made.obsm["X_small"], rounded)
    assert not np.array_equal(exact, rounded)
    whole = biolm.embed(fasta, precision="auto", output=tmp_path / "whole.h5ad", **options)
    np.testing.assert_array_equal(anndata.read_h5ad(whole).obsm["X_small"], rounded)
    with pytest.raises(ConfigError, match="shards must run alike"):
        biolm.embed(fasta, precision="auto", output=tmp_path / "part", shard="1/2", **options)
