"""Packed cells are the cells of the files, whatever their genes, and whatever happened on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import biolm
from biolm.errors import ConfigError, GeneMatchError, InputError, OutputError
from biolm.io.cells import open_cells
from biolm.io.cells.block import CellBlock
from biolm.io.cells.write_store import packed_rows
from biolm.tasks.tokens.pack import PackSettings, pack, pack_files

HUMAN = [f"ENSG{number:011d}" for number in range(1, 61)]
MOUSE = [f"ENSMUSG{number:011d}" for number in range(1, 61)]


def write(path: Path, genes: list[str], cells: int, seed: int, **obs: object) -> np.ndarray:
    """A file of counts; returns them dense."""
    import anndata
    import scipy.sparse as sp

    counts = np.random.default_rng(seed).poisson(0.6, (cells, len(genes))).astype(np.float32)
    made = anndata.AnnData(sp.csr_matrix(counts))
    made.var_names, made.obs_names = genes, [f"{path.stem}-{number}" for number in range(cells)]
    for name, values in obs.items():
        made.obs[name] = values
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Writing zarr v2")  # of anndata, about its own default
        made.write_h5ad(path) if path.suffix == ".h5ad" else made.write_zarr(path)
    return counts


def dense(path: Path) -> np.ndarray:
    with open_cells(path) as source:
        found = np.zeros((source.n_cells, source.n_genes))
        for block in source.blocks(7):
            rows = np.repeat(block.numbers, np.diff(block.indptr))
            found[rows, block.indices] = block.data
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three files: two with the same genes, one with others in another order and a gene named twice."""
    folder = tmp_path_factory.mktemp("files")
    genes = [*HUMAN[40:20:-1], f"{HUMAN[25]}.7", "novel"]
    parts = [
        write(folder / "a.h5ad", HUMAN[:40], 50, 0, cell_type=["B", "T"] * 25, age=np.arange(50)),
        write(folder / "b.zarr", HUMAN[:40], 30, 1, cell_type=["B", "NK"] * 15, age=np.arange(30) / 2),
        write(folder / "c.h5ad", genes, 20, 2, cell_type=[1, 2] * 10),
    ]
    return folder, parts


def test_files_with_one_gene_table_keep_it(files, tmp_path):
    folder, parts = files
    store = biolm.pack([folder / "a.h5ad", folder / "b.zarr"], tmp_path / "s")
    with open_cells(store) as cells:
        assert (cells.kind, cells.matrix, cells.random_access) == ("store", "X", True)
        assert cells.gene_columns()["index"].tolist() == HUMAN[:40]
        assert cells.cell_names().tolist() == [*(f"a-{n}" for n in range(50)), *(f"b-{n}" for n in range(30))]
        assert cells.obs_columns() == ["cell_type", "age", "file"]
        assert cells.obs_column("age").tolist() == [*range(50), *(np.arange(30) / 2)]
        assert set(cells.obs_column("cell_type")[50:]) == {"B", "NK"}
        assert cells.obs_column("file").tolist() == ["a.h5ad"] * 50 + ["b.zarr"] * 30
    np.testing.assert_array_equal(dense(store), np.concatenate(parts[:2]))
    facts = json.loads((store / "store.json").read_text())
    assert facts["columns"] == {"columns": "<u2", "counts": "<u2"}
    assert facts["provenance"]["cells_of_files"] == [50, 30]


def test_genes_of_all_files_are_one_list_and_no_count_is_lost(files, tmp_path):
    folder, parts = files
    store = biolm.pack(folder, tmp_path / "s")
    with open_cells(store) as cells:
        genes = cells.gene_columns()["index"].tolist()
        assert cells.obs_column("cell_type").tolist()[-2:] == ["1", "2"]
        assert cells.obs_columns() == ["cell_type", "file"]
    assert genes == [*HUMAN[:40], HUMAN[40], "novel"]
    found = dense(store)
    np.testing.assert_array_equal(found[:80, :40], np.concatenate(parts[:2]))
    third = parts[2]
    np.testing.assert_array_equal(found[80:].sum(1), third.sum(1))
    place = HUMAN[40:20:-1].index(HUMAN[25])
    np.testing.assert_array_equal(found[80:, 25], third[:, place] + third[:, 20])
    np.testing.assert_array_equal(found[80:, 41], third[:, 21])


@given(rows=st.lists(st.integers(0, 79), max_size=40))
def test_rows_come_in_any_order(files, store_ab, rows):
    _, parts = files
    whole = np.concatenate(parts[:2])
    with open_cells(store_ab) as cells:
        block = cells.take(np.array(rows, np.int64))
    found = np.zeros((len(rows), 40))
    found[np.repeat(np.arange(len(rows)), np.diff(block.indptr)), block.indices] = block.data
    np.testing.assert_array_equal(found, whole[np.array(rows, np.int64)])
    assert block.numbers.tolist() == rows


@pytest.fixture(scope="module")
def store_ab(files, tmp_path_factory):
    folder, _ = files
    return biolm.pack([folder / "a.h5ad", folder / "b.zarr"], tmp_path_factory.mktemp("store") / "s")


def test_a_store_is_read_as_its_file_is(shipped_cells, tmp_path):
    """Vectors from the store are those from the file."""
    source = shipped_cells / "pbmc_cite_10k.h5ad"
    store = biolm.pack(source, tmp_path / "s", obs=())
    for data, name in ((source, "x"), (store, "y")):
        biolm.embed(data, output=tmp_path / f"{name}.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.load(tmp_path / "y.npy"))


def test_a_store_is_packed_again_with_others(store_ab, tmp_path):
    again = biolm.pack(store_ab, tmp_path / "again")
    assert content(again)["counts.bin"] == content(store_ab)["counts.bin"]
    with open_cells(again) as cells:
        assert set(cells.obs_column("file")) == {"a.h5ad", "b.zarr"}


def test_counts_take_the_narrowest_exact_type(tmp_path):
    import anndata

    counts = np.ones((3000, 4), np.float32)
    counts[2999, 3] = 70_000  # in the second block, when uint16 was chosen already
    made = anndata.AnnData(counts)
    made.var_names = HUMAN[:4]
    made.write_h5ad(tmp_path / "x.h5ad")
    store = biolm.pack(tmp_path / "x.h5ad", tmp_path / "s")
    assert json.loads((store / "store.json").read_text())["columns"]["counts"] == "<u4"
    np.testing.assert_array_equal(dense(store), counts)
    assert sorted(content(store)) == [
        "cells.parquet", "columns.bin", "counts.bin", "genes.parquet", "offsets.npy", "store.json",
    ]  # fmt: skip


def test_normalised_values_are_refused_or_stored_as_floats(tmp_path):
    import anndata

    values = np.log1p(np.random.default_rng(0).poisson(2, (40, 30))).astype(np.float32)
    values /= values.sum(1, keepdims=True)
    made = anndata.AnnData(values)
    made.var_names = HUMAN[:30]
    made.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(InputError, match="raw counts are wanted"):
        biolm.pack(tmp_path / "x.h5ad", tmp_path / "s")
    assert not list(tmp_path.glob("s*"))
    store = biolm.pack(tmp_path / "x.h5ad", tmp_path / "s", allow_normalised=True)
    np.testing.assert_array_equal(dense(store), values)


@pytest.mark.parametrize("value", [-1.0, np.nan, 0.5, 1e-9])
def test_a_bad_value_is_named_wherever_it_lies(value):
    data = np.array([1, 2, value], np.float32)
    block = CellBlock(10, data, np.array([0, 1, 0], np.int32), np.array([0, 2, 3]), 2)
    with pytest.raises(InputError, match=r"cell 11 .* holds the value"):
        packed_rows(block, np.arange(2, dtype=np.int32), 2, whole=True)


def test_what_cannot_be_packed_is_said_in_one_sentence(files, tmp_path):
    folder, _ = files
    write(tmp_path / "mouse.h5ad", MOUSE, 9, 3)
    with pytest.raises(GeneMatchError, match=r"mouse\.h5ad does not fit the files before it"):
        biolm.pack([folder / "a.h5ad", tmp_path / "mouse.h5ad"], tmp_path / "s")
    with pytest.raises(InputError, match="no obs column 'donor'"):
        biolm.pack(folder / "a.h5ad", tmp_path / "s", obs=("donor",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="names no file"):
        biolm.pack(tmp_path / "empty", tmp_path / "s")
    with pytest.raises(InputError, match="no gene column 'symbol'"):
        biolm.pack(folder / "a.h5ad", tmp_path / "s", gene_column="symbol")
    (tmp_path / "s").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        biolm.pack(folder / "a.h5ad", tmp_path / "s")
    (tmp_path / "t.parquet").touch()
    with pytest.raises(ConfigError, match="mixes"):
        biolm.pack([folder / "a.h5ad", tmp_path / "t.parquet"], tmp_path / "other")


def test_a_damaged_store_is_told(store_ab, tmp_path):
    import shutil

    bad = tmp_path / "bad"
    shutil.copytree(store_ab, bad)
    with (bad / "counts.bin").open("ab") as file:
        file.truncate(10)
    with pytest.raises(InputError, match="damaged"):
        open_cells(bad)


@pytest.mark.parametrize("rows", [0, 9, 31])
def test_a_job_goes_on_after_the_last_whole_block(files, tmp_path, monkeypatch, rows):
    """Interrupted in any file, the store at the end is the same to the byte."""
    folder, _ = files
    whole = biolm.pack(folder, tmp_path / "whole")
    monkeypatch.setattr("biolm.tasks.tokens.pack._ROWS", 9)
    done = []

    def stop(block, *args, **kwargs):
        if len(done) * 9 >= rows:
            raise KeyboardInterrupt
        done.append(block)
        return packed_rows(block, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr("biolm.tasks.tokens.pack.packed_rows", stop)
        with pytest.raises(KeyboardInterrupt):
            biolm.pack(folder, tmp_path / "s")
    partial = tmp_path / "s.partial"
    assert partial.is_dir()
    with (partial / "lengths.bin").open("ab") as file:
        file.write(b"half a block")
    with pytest.raises(OutputError, match="resume=True"):
        biolm.pack(folder, tmp_path / "s")
    with pytest.raises(OutputError, match="another job"):
        biolm.pack(folder / "a.h5ad", tmp_path / "s", resume=True)
    store = biolm.pack(folder, tmp_path / "s", resume=True)
    assert content(store) == content(whole)
    assert not partial.exists()


def test_killed_and_resumed(files, tmp_path):
    """A process that is killed outright leaves a state to go on from."""
    folder, _ = files
    program = (
        "import os, sys, time, biolm.tasks.tokens.pack as p; p._ROWS = 5; old = p.packed_rows\n"
        "state = sys.argv[2] + '.partial/state.json'\n"
        "def slow(*a, **k): time.sleep(600 * os.path.exists(state)); return old(*a, **k)\n"
        "p.packed_rows = slow; p.pack(sys.argv[1], sys.argv[2])"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(folder), str(tmp_path / "s")])
    state = tmp_path / "s.partial" / "state.json"
    for _ in range(30_000):
        if state.exists() or running.poll() is not None:
            break
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "s").exists()
    store = biolm.pack(folder, tmp_path / "s", resume=True)
    assert content(store) == content(biolm.pack(folder, tmp_path / "whole"))


def test_no_space_is_one_sentence(files, tmp_path, monkeypatch):
    folder, _ = files

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("biolm.io.store.StoreWriter.append", full)
    with pytest.raises(OutputError, match="no space left"):
        biolm.pack(folder, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_summary_counts_what_was_packed(files, tmp_path):
    folder, parts = files
    summary = pack_files([folder], tmp_path / "s", PackSettings())
    assert (summary.kind, summary.files, summary.rows, summary.genes) == ("cells", 3, 100, 42)
    assert summary.values == sum(np.count_nonzero(part) for part in parts[:2]) + np.count_nonzero(
        dense(tmp_path / "s")[80:]
    )


def test_sequences_of_one_name_are_refused_unless_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.fasta").write_text(">x\nMKVLAAG\n>y" + name + "\nMKV\n")
    with pytest.raises(InputError, match=r"several records are named 'x', again in .*b.fasta"):
        pack(tmp_path, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    pack([tmp_path / "a.fasta", tmp_path / "b.fasta"], tmp_path / "store", duplicates="keep")
    assert "1 names repeat; records are kept in input order" in caplog.text
    with pytest.raises(ConfigError, match="`duplicates` must be one of error, keep"):
        pack(tmp_path, tmp_path / "other", duplicates="some")
