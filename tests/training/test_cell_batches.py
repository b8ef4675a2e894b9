"""Sparse batches hold each cell once, in an order of seed and epoch, from files and stores alike."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

import biolm
from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError
from biolm.io.cells import open_cells
from biolm.io.token_store import TokenStore
from biolm.io.tokens import TokenWriter
from biolm.training.batches import cell_batches
from biolm.training.data.sources import expand, holds_tokens
from biolm.training.data.stored import StoredExamples


@pytest.fixture(scope="module")
def cells(shipped_cells, tmp_path_factory) -> dict[str, Path]:
    source = shipped_cells / "pbmc_cite_10k.h5ad"
    store = biolm.pack(source, tmp_path_factory.mktemp("store") / "s")
    return {"file": source, "store": store}


@pytest.mark.parametrize("kind", ["file", "store"])
@pytest.mark.parametrize("size", [1, 64, 500])
def test_every_cell_once(cells, kind, size):
    seen = [batch.numbers for batch in cell_batches(cells[kind], size=size, pool=96, chunk=8)]
    assert sorted(np.concatenate(seen).tolist()) == list(range(200))
    assert max(map(len, seen)) == min(size, 96)


def test_order_follows_seed_and_epoch(cells):
    def order(**chosen):
        return np.concatenate([batch.numbers for batch in cell_batches(cells["store"], **chosen)]).tolist()

    assert order() == order()
    assert len({tuple(order(seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert order(shuffle=False) == list(range(200))


def test_rows_are_the_cells(cells):
    with open_cells(cells["file"]) as source:
        [whole] = source.blocks()
        for name in cells:
            batch = next(cell_batches(cells[name], size=7, seed=3))
            wanted = whole.take(batch.numbers)
            np.testing.assert_array_equal(batch.data, wanted.data)
            np.testing.assert_array_equal(batch.indices, wanted.indices)
        assert len(next(cell_batches(source, size=9))) == 9


def test_sizes_are_checked(cells):
    with pytest.raises(ConfigError, match="size must be at least 1"):
        next(cell_batches(cells["store"], size=0))


def tokens_of(path: Path, first: int, count: int, model: str = "toy") -> Path:
    lengths = np.random.default_rng(first).integers(0, 6, count)
    ids = np.arange(lengths.sum(), dtype=np.int32) + first
    made = Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), np.arange(count))
    with TokenWriter(path, metadata={"model": model}) as writer:
        writer.write(made, np.array([f"c{number}" for number in range(count)]))
    return path


def test_tokens_are_packed_and_read_in_any_order(tmp_path):
    files = [tokens_of(tmp_path / "a.parquet", 0, 30), tokens_of(tmp_path / "b.arrow", 100, 20)]
    store = biolm.pack(files, tmp_path / "tokens.store")
    assert [holds_tokens(path) for path in (store, *files)] == [True] * 3
    assert expand([store]) == [store]
    packed, unpacked = StoredExamples([store], None), StoredExamples(files, tmp_path / "flat")
    rows = np.array([49, 3, 3, 30, 0])
    for examples in (packed, unpacked, pickle.loads(pickle.dumps(packed))):  # as a worker gets it
        found = examples.read(rows)
        assert found.index.tolist() == rows.tolist()
        everything = np.concatenate([tokens.ids for tokens in examples.blocks()])
        np.testing.assert_array_equal(everything, np.concatenate([t.ids for t in packed.blocks()]))
        [whole] = packed.blocks()
        for place, row in enumerate(rows):
            assert found[place].ids.tolist() == whole[row].ids.tolist()
    assert len(TokenStore(store)) == 50


def test_tokens_of_two_models_are_not_packed_together(tmp_path):
    files = [tokens_of(tmp_path / "a.parquet", 0, 3), tokens_of(tmp_path / "b.parquet", 0, 3, "other")]
    with pytest.raises(InputError, match="tokens of one model"):
        biolm.pack(files, tmp_path / "s")
    assert not list(tmp_path.glob("s*"))


def _unpack(files, folder, results):
    results.put(int(StoredExamples(files, folder).read(np.array([1])).ids.sum()))


def test_several_processes_unpack_once(tmp_path):
    """As under torchrun: all begin at once, one writes, all read the same."""
    files = [tokens_of(tmp_path / "a.parquet", 7, 4000)]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    ranks = [context.Process(target=_unpack, args=(files, tmp_path / "flat", results)) for _ in range(3)]
    for rank in ranks:
        rank.start()
    found = {results.get(timeout=600) for _ in ranks}
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert len(found) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "flat"]
