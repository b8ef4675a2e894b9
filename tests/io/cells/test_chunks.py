"""The fast path into compressed HDF5 gives what h5py gives, whatever the storage."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.io.cells.chunks import Chunked, hdf5_column, inflater
from biolm.io.cells.lzf import compiled_lzf, unpack_lzf

SIZE = 1_003
STORAGE: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (64,)},
    "gzip": {"chunks": (64,), "compression": "gzip", "compression_opts": 1},
    "gzip-9": {"chunks": (1_000,), "compression": "gzip", "compression_opts": 9},
    "shuffle": {"chunks": (64,), "compression": "gzip", "shuffle": True},
    "checksum": {"chunks": (64,), "compression": "gzip", "fletcher32": True},
    "lzf": {"chunks": (64,), "compression": "lzf"},
    "lzf-shuffle": {"chunks": (700,), "compression": "lzf", "shuffle": True},
    "lzf-checksum": {"chunks": (64,), "compression": "lzf", "fletcher32": True},
    "one-chunk": {"chunks": (4_096,), "compression": "gzip", "maxshape": (None,)},
}
FAST = {"gzip", "gzip-9", "shuffle", "one-chunk", "lzf", "lzf-shuffle"}


def values(dtype: str) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(5).gamma(0.5, 40, SIZE)).astype(dtype)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> h5py.File:
    path = tmp_path_factory.mktemp("chunks") / "x.h5"
    with h5py.File(path, "w") as made:
        for name, options in STORAGE.items():
            for dtype in ("f4", ">f8", "u2", "i8"):
                made.create_dataset(f"{name}/{dtype}", data=values(dtype), **options)
    return h5py.File(path)


@pytest.mark.parametrize("name", STORAGE)
@pytest.mark.parametrize("dtype", ["f4", ">f8", "u2", "i8"])
@pytest.mark.parametrize("task_bytes", [1, 1 << 19])
def test_same_as_h5py(
    file: h5py.File, name: str, dtype: str, task_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biolm.io.cells.chunks.TASK_BYTES", task_bytes)
    monkeypatch.setattr("biolm.io.cells.chunks.LZF_BYTES", 0)
    dataset = file[f"{name}/{dtype}"]
    read = hdf5_column(dataset)
    assert isinstance(getattr(read, "__self__", None), Chunked) == (name in FAST)
    for start, stop in [(0, SIZE), (0, 1), (63, 65), (64, 128), (100, 100), (100, 700), (690, SIZE), (0, 64)]:
        got = read(start, stop)
        assert got.dtype == dataset.dtype
        np.testing.assert_array_equal(got, values(dtype)[start:stop])


@given(cuts=st.lists(st.integers(0, SIZE), min_size=2, max_size=12))
def test_any_order_of_spans(file: h5py.File, cuts: list[int]) -> None:
    dataset = file["shuffle/f4"]
    column = Chunked(dataset, inflater(), shuffled=True)
    for first, second in pairwise(cuts):
        start, stop = min(first, second), max(first, second)
        np.testing.assert_array_equal(column.read(start, stop), values("f4")[start:stop])


class LastFirst:
    """An executor that runs nothing before a result is asked for, and then the last task first."""

    def __init__(self, threads: int) -> None:
        self.tasks: list[tuple[Future[Any], Callable[[], Any]]] = []

    def __enter__(self) -> LastFirst:
        return self

    def __exit__(self, *_: object) -> None:
        self.run()

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.result = lambda timeout=None: (self.run(), Future.result(future, timeout))[1]
        self.tasks.append((future, partial(call, *arguments)))
        return future

    def run(self) -> None:
        while self.tasks:
            future, call = self.tasks.pop()
            future.set_result(call())


def test_tasks_may_end_in_any_order(file: h5py.File, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunk that is kept from the span before is that one, also after the last task has ended."""
    monkeypatch.setattr("biolm.io.cells.chunks.TASK_BYTES", 1)
    monkeypatch.setattr("biolm.io.cells.chunks.ThreadPoolExecutor", LastFirst)
    column = Chunked(file["gzip/f4"], inflater(), shuffled=False)
    for start, stop in [(0, 100), (70, 500), (490, SIZE)]:
        np.testing.assert_array_equal(column.read(start, stop), values("f4")[start:stop])


def test_the_fast_path_is_taken(file: h5py.File) -> None:
    """Equality alone would not notice a fast path that always falls back."""
    calls = []

    def count(raw: bytes, size: int) -> bytes:
        calls.append(size)
        return zlib.decompress(raw)

    Chunked(file["gzip/f4"], count, shuffled=False).read(0, SIZE)
    assert calls == [64 * 4] * 16


def test_every_inflater_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = zlib.compress(values("f4").tobytes())
    fast = inflater()
    monkeypatch.setitem(sys.modules, "deflate", None)
    plain = inflater()
    assert bytes(fast(raw, SIZE * 4)) == bytes(plain(raw, SIZE * 4)) == values("f4").tobytes()


def test_chunks_without_storage_hold_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as made:
        dataset = made.create_dataset("x", (500,), "f4", chunks=(50,), compression="gzip", fillvalue=3.5)
        dataset[60:70] = 1
        np.testing.assert_array_equal(hdf5_column(dataset)(0, 500), dataset[:])


def test_small_lzf_is_left_to_h5py(file: h5py.File) -> None:
    read = hdf5_column(file["lzf/f4"])
    assert not hasattr(read, "__self__")
    np.testing.assert_array_equal(read(3, 99), values("f4")[3:99])


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_chunk_stored_without_a_filter(tmp_path: Path, shuffle: bool) -> None:
    plain = np.arange(50, dtype="f4")
    shuffled = plain.view(np.uint8).reshape(50, 4).T.tobytes() if shuffle else plain.tobytes()
    with h5py.File(tmp_path / "x.h5", "w") as made:
        dataset = made.create_dataset("x", (150,), "f4", chunks=(50,), compression="gzip", shuffle=shuffle)
        dataset[:] = 2
        dataset.id.write_direct_chunk((50,), shuffled, filter_mask=2 if shuffle else 1)
        dataset.id.write_direct_chunk((100,), plain.tobytes(), filter_mask=3 if shuffle else 1)
        read = hdf5_column(dataset)
        np.testing.assert_array_equal(read(0, 150), np.concatenate([np.full(50, 2), plain, plain]))


def test_lzf_that_does_not_shrink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 then stores the chunk as it is."""
    monkeypatch.setattr("biolm.io.cells.chunks.LZF_BYTES", 0)
    noise = np.random.default_rng(0).integers(0, 2**32, 900, np.uint32)
    with h5py.File(tmp_path / "x.h5", "w") as made:
        dataset = made.create_dataset("x", data=noise, chunks=(100,), compression="lzf")
        assert dataset.id.read_direct_chunk((0,))[0] == 1
        np.testing.assert_array_equal(hdf5_column(dataset)(0, 900), noise)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x1f" + b"x" * 8,  # says 32 bytes follow
        b"\x20\x00",  # refers to before the start
        b"\x00x\xe0",  # ends within a reference
        b"\x00x\xe0\xff\x00",  # runs over the end of the content
        b"\x00x",  # ends early
    ],
)
def test_damaged_lzf_writes_nothing_outside(raw: bytes) -> None:
    with pytest.raises(ValueError, match="damaged LZF"):
        compiled_lzf()(raw, 16)
    content = np.zeros(16, np.uint8)
    assert unpack_lzf(np.frombuffer(raw, np.uint8), content) != 16


def test_damaged_chunks_are_left_to_h5py(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as made:
        dataset = made.create_dataset("x", (100,), "f4", chunks=(50,), compression="gzip")
        dataset[:] = 2
        dataset.id.write_direct_chunk((50,), b"no zlib stream")
        read = hdf5_column(dataset)
        np.testing.assert_array_equal(read(0, 50), np.full(50, 2, "f4"))
        with pytest.raises(OSError, match="filter"):
            read(0, 100)
