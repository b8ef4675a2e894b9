"""A file that becomes shorter while it is read is named; the process goes on to say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import biolm
from biolm.errors import InputError
from biolm.io.store import StoreWriter
from biolm.tasks.search.build import IndexSettings, make_index
from biolm.tasks.search.index import CellTable, load, save

# A process of its own: without a look at the size it would end by the signal SIGBUS.
READ = """
import os, sys
import numpy as np
from pathlib import Path
from biolm.errors import InputError
from biolm.io.cells import open_cells
from biolm.io.sequences.store import SequenceStore
from biolm.io.token_store import TokenStore
kind, path, cut, size = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
if kind == "cells":
    source = open_cells(path)
    def read(row):
        return source.take(np.array([row, 0])) if source.random_access else next(iter(source.blocks(8, row)))
elif kind == "tokens":
    store = TokenStore(path)
    read = lambda row: store.read(np.array([row]))
else:
    store = SequenceStore(path)
    read = lambda row: store.block(np.array([row]), np.array([0]), store.lengths[[row]])
read(0)
os.truncate(cut, size)
try:
    read(1500)
except InputError as error:
    print(error)
"""


def run(kind: str, path: Path, cut: Path, size: int = 4096) -> str:
    command = [sys.executable, "-c", READ, kind, str(path), str(cut), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    counts = sp.csr_matrix(np.random.default_rng(0).poisson(0.5, (2000, 60)).astype(np.float32))
    made = anndata.AnnData(counts)
    made.var_names = [f"ENSG{number:011d}" for number in range(60)]
    made.write_h5ad(folder / "plain.h5ad")
    made.write_h5ad(folder / "gzip.h5ad", compression="gzip")
    return folder


@pytest.mark.parametrize("name", ["plain.h5ad", "gzip.h5ad"])
def test_cells_in_a_file(cells: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((cells / name).read_bytes())
    assert name in run("cells", path, path)


@pytest.mark.parametrize("column", ["counts", "columns"])
def test_cells_in_a_store(cells: Path, tmp_path: Path, column: str) -> None:
    biolm.pack(cells / "plain.h5ad", tmp_path / "store", progress=False)
    said = run("cells", tmp_path / "store", tmp_path / "store" / f"{column}.bin")
    assert f"{column}.bin was cut short while it was read: 4,096 of" in said


def test_sequences_in_a_store(tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text("".join(f">s{number}\nACGTACGTAA\n" for number in range(2000)))
    biolm.pack(tmp_path / "x.fa", tmp_path / "store", progress=False)
    said = run("sequences", tmp_path / "store", tmp_path / "store" / "letters.bin")
    assert "letters.bin was cut short" in said


def test_tokens_in_a_store(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", {"ids": np.dtype(np.int32)})
    writer.append(np.full(2000, 10), {"ids": np.arange(20_000, dtype=np.int32)})
    writer.finish("biolm-tokens", {"provenance": {}})
    assert "ids.bin was cut short" in run("tokens", tmp_path / "store", tmp_path / "store" / "ids.bin")


def test_the_vectors_of_an_index(tmp_path: Path) -> None:
    names = np.array([str(number) for number in range(2000)])
    vectors = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    (tmp_path / "index").mkdir()
    save(make_index(vectors, CellTable(names, names, np.arange(2000)), IndexSettings()), tmp_path / "index")
    index = load(tmp_path / "index")
    os.truncate(tmp_path / "index" / "vectors.npy", 4096)
    with pytest.raises(InputError, match=r"vectors.npy was cut short"):
        index.search(vectors[:2], 3)
