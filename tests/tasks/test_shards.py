"""Shards merged are the job done at once, byte for byte; what does not belong together is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import biolm
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.table import side_car
from biolm.jobs.bind import loaded
from biolm.jobs.job import block_ends
from biolm.jobs.shards import Shard
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.models.model import CellModel

BLOCK = 16


@pytest.fixture(scope="module")
def cells(shipped_cells, tmp_path_factory) -> Path:
    """200 cells, the last block not full, one cell empty, few genes."""
    import anndata
    from scipy.sparse import csr_matrix

    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    adata = anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad")[:, ::8].copy()
    counts = adata.X.toarray()
    counts[17] = 0
    adata.X = csr_matrix(counts)
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def toy(cells, tmp_path_factory) -> Path:
    """A checkpoint of which only the tokeniser is read."""
    import json

    from biolm.io.cells import open_cells

    folder = tmp_path_factory.mktemp("toy")
    with open_cells(cells) as source:
        columns = source.gene_columns()
    genes = sorted(set(columns["ensembl_id"].tolist()) - {""})
    tokens = {name: number for number, name in enumerate(["<pad>", "<mask>", *genes])}
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(tokens)}))
    (folder / "token_dictionary.json").write_text(json.dumps(tokens))
    (folder / "gene_median_dictionary.json").write_text(json.dumps(dict.fromkeys(genes, 1.0)))
    return folder


@cache
def default() -> CellModel:
    return loaded(DEFAULT_MODEL)


def embed(cells: Path, output: Path, **options: object) -> Path:
    return biolm.embed(cells, model=default(), output=output, block_rows=BLOCK, **options)


def embed_parts(cells: Path, folder: Path, count: int, **options: object) -> list[Path]:
    return [embed(cells, folder / f"p{n}", shard=f"{n}/{count}", **options) for n in range(1, count + 1)]


@given(total=st.integers(1, 500), step=st.integers(1, 40), count=st.integers(1, 12))
def test_shards_cover_every_row_once(total, step, count):
    ends = block_ends(total, step)
    spans = [Shard(number, count).blocks(len(ends) - 1) for number in range(1, count + 1)]
    rows = [(int(ends[first]), int(ends[last])) for first, last in spans]
    assert [row for first, last in rows for row in range(first, last)] == list(range(total))
    assert all(first % step == 0 or first == total for first, _ in rows)


@pytest.fixture(scope="module")
def parts(cells, tmp_path_factory) -> dict[int, list[Path]]:
    return {n: embed_parts(cells, tmp_path_factory.mktemp("parts"), n) for n in (1, 3, 7)}


@pytest.fixture(scope="module")
def wholes(cells, tmp_path_factory) -> dict[str, Path]:
    """The job done at once, in every form."""
    folder = tmp_path_factory.mktemp("whole")
    forms = ("h5ad", "parquet", "npy")
    return {form: embed(cells, folder / f"x.{form}", overwrite=True) for form in forms}


@pytest.mark.parametrize("form", ["h5ad", "parquet", "npy"])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_vectors_are_those_of_the_whole_job(parts, wholes, tmp_path, count, form):
    made = biolm.merge(parts[count][::-1], tmp_path / f"x.{form}")
    assert made.read_bytes() == wholes[form].read_bytes()
    if form == "npy":
        assert side_car(made).read_bytes() == side_car(wholes[form]).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} <= {f"x.{form}", f"x.{form}.json"}


def test_zarr_and_centred_vectors_too(cells, tmp_path):
    whole = embed(cells, tmp_path / "whole.zarr", centre=True)
    made = biolm.merge(embed_parts(cells, tmp_path, 3, centre=True), tmp_path / "made.zarr")

    def content(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    assert content(made) == content(whole)


def tokens(cells: Path, toy: Path, output: Path, **chosen: object) -> Path:
    return biolm.tokenize(
        cells, model=toy, output=output, block_rows=BLOCK, gene_column="ensembl_id", **chosen
    )


@pytest.fixture(scope="module")
def token_parts(cells, toy, tmp_path_factory) -> dict[int, list[Path]]:
    """Shards have no form, so those of one number serve every form."""
    folders = {count: tmp_path_factory.mktemp("tokens") for count in (1, 3, 7)}
    return {
        count: [tokens(cells, toy, folder / f"p{n}", shard=f"{n}/{count}") for n in range(1, count + 1)]
        for count, folder in folders.items()
    }


@pytest.mark.parametrize("form", ["parquet", "arrow", "zarr"])
def test_tokens_are_those_of_the_whole_job(cells, toy, token_parts, tmp_path, form):
    def content(path: Path) -> dict[Path, bytes] | bytes:
        files = {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}
        return files or path.read_bytes()

    whole = content(tokens(cells, toy, tmp_path / f"whole.{form}"))
    for count, shards in token_parts.items():
        assert content(biolm.merge(shards, tmp_path / f"made{count}.{form}")) == whole


def test_a_killed_shard_is_resumed(cells, wholes, tmp_path):
    """Killed outright in the middle; the others do not notice, the merge is the same."""
    program = (
        "import sys, time, biolm, biolm.jobs.spool as p\n"
        "old = p.Spool.put\n"
        "def slow(self, arrays): old(self, arrays); time.sleep(600)\n"
        "p.Spool.put = slow\n"
        f"biolm.embed(sys.argv[1], output=sys.argv[2], shard='2/3', block_rows={BLOCK})"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(cells), str(tmp_path / "p2")])
    landed = tmp_path / "p2.partial"
    for _ in range(30_000):
        if any(landed.glob("*.block")) or running.poll() is not None:
            break
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    others = [embed(cells, tmp_path / f"p{n}", shard=f"{n}/3") for n in (1, 3)]
    with pytest.raises(InputError, match="not finished: run it again with `resume=True`"):
        biolm.merge([*others, tmp_path / "p2"], tmp_path / "x.h5ad")
    assert any(landed.glob("*.block"))
    with pytest.raises(OutputError, match="belongs to another job"):
        embed(cells, tmp_path / "p2", shard="3/3", resume=True)
    second = embed(cells, tmp_path / "p2", shard="2/3", resume=True)
    made = biolm.merge([*others, second], tmp_path / "x.h5ad")
    assert made.read_bytes() == wholes["h5ad"].read_bytes()


def test_what_does_not_belong_together_is_told(cells, parts, tmp_path):
    one, two, three = parts[3]
    for given_, message in (
        ([one, three], r"missing: shard 2/3; make it with `shard='2/3'`"),
        ([one, two, two, three], "shard 2/3 is given twice"),
        ([one, two, parts[7][2]], "shards of one number of parts"),
        ([one, two, tmp_path], "is no finished shard; make it with `shard`"),
        ([], "no shards to merge"),
    ):
        with pytest.raises(InputError, match=message):
            biolm.merge(given_, tmp_path / "x.npy")
    foreign = embed(cells, tmp_path / "f", shard="3/3", seed=5)
    with pytest.raises(InputError, match="another job"):
        biolm.merge([one, two, foreign], tmp_path / "x.npy")
    assert not (tmp_path / "x.npy").exists()


def test_the_input_may_move_but_not_change(cells, shipped_cells, parts, wholes, tmp_path):
    moved = tmp_path / "moved.h5ad"
    shutil.copy(cells, moved)
    made = biolm.merge(parts[3], tmp_path / "x.h5ad", data=moved)
    assert made.read_bytes() == wholes["h5ad"].read_bytes()
    with pytest.raises(InputError, match="not what the shards were made from"):
        biolm.merge(parts[3], tmp_path / "y.h5ad", data=shipped_cells / "pbmc68k_reduced_counts_700.h5ad")


def test_a_cut_shard_is_noticed(parts, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(parts[3][1], bad)
    block = min(bad.glob("*.block"))
    block.write_bytes(block.read_bytes()[:-4])
    with pytest.raises(InputError, match="is missing or damaged; make the shard"):
        biolm.merge([parts[3][0], bad, parts[3][2]], tmp_path / "x.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0"])
def test_a_shard_that_is_none(cells, tmp_path, text):
    with pytest.raises(ConfigError, match="such as 2/7"):
        biolm.embed(cells, output=tmp_path / "x", shard=text)


def test_shards_are_folders_without_a_format(cells, tmp_path):
    with pytest.raises(ConfigError, match="a shard is a folder"):
        biolm.embed(cells, output=tmp_path / "x.npy", shard="1/2")
    with pytest.raises(ConfigError, match="has no `format`"):
        biolm.embed(cells, output=tmp_path / "x", shard="1/2", format="npy")
    with pytest.raises(ConfigError, match="give an output"):
        biolm.embed(cells, shard="1/2")
    assert np.array_equal(list(tmp_path.iterdir()), [])
