"""Documents are a kind of data: embedded, sharded, merged and resumed by the jobs that cells have."""

from __future__ import annotations

import json
import os

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app
from biolm.core import hardware
from biolm.errors import ConfigError, InputError
from biolm.io.text import ReadOptions
from biolm.jobs.modality import modality_of
from biolm.text.documents import DocumentFile
from biolm.text.embed import embed_texts, load_encoder

TEXTS = [
    "aspirin causes ulcers",
    "patients had gastric ulcers " * 20,
    "the patients",
    "gastric",
    "of the in and",
]


@pytest.fixture
def abstracts(tmp_path):
    path = tmp_path / "abstracts.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{n}", "text": t}) + "\n" for n, t in enumerate(TEXTS)))
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.pubtator", "a.nbib", "a.conll", "a.medline", "a.ndjson"]
)
def test_documents_are_told_by_their_ending(name):
    assert modality_of(name).name == "documents"


def test_shared_endings_are_told_by_their_beginning(tmp_path):
    (tmp_path / "a.xml").write_text('<!DOCTYPE collection SYSTEM "BioC.dtd"><collection/>')
    (tmp_path / "a.json").write_text('{"documents": []}')
    (tmp_path / "brat").mkdir()
    (tmp_path / "brat" / "one.ann").write_text("")
    assert {modality_of(tmp_path / name).name for name in ("a.xml", "a.json", "brat")} == {"documents"}
    assert modality_of(tmp_path / "a.tsv").name == "cells"


def test_vectors_are_those_of_the_texts(abstracts, tiny):
    held = biolm.embed(abstracts, model=tiny)
    assert held.obs_names.tolist() == [f"d{n}" for n in range(5)]
    key = f"X_{tiny.name}"
    assert np.allclose(held.obsm[key], embed_texts(load_encoder(tiny), TEXTS), atol=1e-6)
    assert "1 of 5 texts is longer" in held.uns["biolm"][key]["lengths"]
    first = biolm.embed(abstracts, model=tiny, pool="cls", key="X_first").obsm["X_first"]
    assert np.allclose(first, embed_texts(load_encoder(tiny, pool="cls"), TEXTS), atol=1e-6)
    wide = biolm.embed(abstracts, model=tiny, overlap=30, key="X_far").obsm["X_far"]
    assert np.abs(wide[1] - held.obsm[key][1]).max() > 1e-5


def test_shards_merge_to_the_bytes_of_the_whole_job(abstracts, tiny, tmp_path):
    options = {"model": tiny, "block_rows": 2}
    whole = biolm.embed(abstracts, output=tmp_path / "whole.h5ad", **options)
    parts = [biolm.embed(abstracts, output=tmp_path / f"p{n}", shard=f"{n}/2", **options) for n in (1, 2)]
    merged = biolm.merge(parts, tmp_path / "merged.h5ad")
    assert merged.read_bytes() == whole.read_bytes()


def test_an_interrupted_job_goes_on(abstracts, tiny, tmp_path, monkeypatch):
    options = {"model": tiny, "block_rows": 2}
    whole = biolm.embed(abstracts, output=tmp_path / "whole.parquet", **options)
    real, made = os.replace, []

    def dies(source, target):
        if str(target).endswith(".block"):
            made.append(target)
            if len(made) == 2:
                raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        biolm.embed(abstracts, output=tmp_path / "again.parquet", **options)
    monkeypatch.undo()
    again = biolm.embed(abstracts, output=tmp_path / "again.parquet", resume=True, **options)
    assert again.read_bytes() == whole.read_bytes()


def test_the_precision_is_decided_and_recorded(abstracts, tiny, monkeypatch):
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda: True)
    exact = biolm.embed(abstracts, model=tiny, key="X_text")
    rounded = biolm.embed(abstracts, model=tiny, key="X_text", precision="bfloat16")
    cosines = np.sum(exact.obsm["X_text"] * rounded.obsm["X_text"], 1)
    cosines /= np.linalg.norm(exact.obsm["X_text"], axis=1) * np.linalg.norm(rounded.obsm["X_text"], axis=1)
    made = biolm.embed(abstracts, model=tiny, key="X_text", precision="auto")
    decided = made.uns["biolm"]["X_text"]["parameters"]["precision_auto"]
    assert decided["cosine"] == pytest.approx(cosines.min(), abs=1e-6)
    right = rounded if cosines.min() >= 0.9999 else exact
    assert (made.obsm["X_text"] == right.obsm["X_text"]).all()
    assert not (exact.obsm["X_text"] == rounded.obsm["X_text"]).all()


def test_the_command_reads_what_a_name_does_not_tell(tiny, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(text.strip() for text in TEXTS) + "\n")
    out = tmp_path / "v.h5ad"
    command = ["text", "embed", path, "-m", tiny, "-o", out, "--input-format", "lines", "--key", "X_text"]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 0, result.output
    held = anndata.read_h5ad(out)
    assert held.obs_names[0] == "lines:1"
    data = DocumentFile(path, ReadOptions(format="lines"))
    again = biolm.embed(data, model=tiny, key="X_text", batch_tokens=8192)
    assert (again.obsm["X_text"] == held.obsm["X_text"]).all()


def test_what_does_not_fit_is_refused(abstracts, tiny, tmp_path):
    with pytest.raises(ConfigError, match="`layer` is for cells and means nothing for documents"):
        biolm.embed(abstracts, model=tiny, layer="raw")
    with pytest.raises(ConfigError, match="`hidden_state` means nothing for text encoders"):
        biolm.embed(abstracts, model=tiny, hidden_state=-2)
    with pytest.raises(ConfigError, match="has no pool 'max'; choose from: mean, cls"):
        biolm.embed(abstracts, model=tiny, pool="max")
    with pytest.raises(ConfigError, match="there is no folder cellfactors"):
        biolm.embed(abstracts)
    with pytest.raises(ConfigError, match="documents have no tokens of their own"):
        biolm.tokenize(abstracts, model=tiny)
    with pytest.raises(InputError, match="there is no file"):
        biolm.embed(tmp_path / "none.jsonl", model=tiny)
