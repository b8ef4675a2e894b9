"""Blocks of any size, from any start to any stop, join to the same matrix, in every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix, csr_matrix, random_array

from biolm.errors import ConfigError
from biolm.io.cells import CellSource, open_cells

CELLS, GENES = 83, 61
FORMS = (
    "csr",
    "csr-gzip",
    "csr-shuffle",
    "csr-lzf",
    "csc",
    "csc-gzip",
    "dense",
    "dense-chunked",
    "loom",
    "loom-wide",
)


def expected() -> csr_matrix:
    """The matrix that all files hold: some cells and genes are empty."""
    matrix = random_array((CELLS, GENES), density=0.2, rng=np.random.default_rng(3), format="lil")
    matrix[5] = 0
    matrix[:, 7] = 0
    return csr_matrix(matrix.tocsr().astype(np.float32))


def write(path: Path, form: str, matrix: csr_matrix) -> None:
    """An h5ad or loom file with nothing but what reading needs."""
    storage, _, detail = form.partition("-")
    options: dict[str, Any] = {
        "": {},
        "gzip": {"compression": "gzip", "chunks": (97,)},
        "shuffle": {"compression": "gzip", "shuffle": True, "chunks": (97,)},
        "lzf": {"compression": "lzf", "chunks": (97,)},
        "chunked": {"chunks": (10, 11)},
        "wide": {"chunks": (4, CELLS), "compression": "gzip"},
    }[detail]
    with h5py.File(path, "w") as file:
        if storage == "loom":
            file.create_dataset("matrix", data=matrix.toarray().T, **options)
            file["col_attrs/CellID"] = np.arange(CELLS).astype("S")
            file["row_attrs/Gene"] = np.arange(GENES).astype("S")
            return
        for name, size in (("obs", CELLS), ("var", GENES)):
            file[f"{name}/_index"] = np.arange(size).astype("S")
        if storage == "dense":
            file.create_dataset("X", data=matrix.toarray(), **options)
            return
        stored = matrix if storage == "csr" else csc_matrix(matrix)
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = f"{storage}_matrix", stored.shape
        group["indptr"] = stored.indptr
        for part in ("data", "indices"):
            group.create_dataset(part, data=getattr(stored, part), **options)


@pytest.fixture(scope="module", params=FORMS)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellSource]:
    path = tmp_path_factory.mktemp("blocks") / ("x.loom" if "loom" in request.param else "x.h5ad")
    write(path, request.param, expected())
    with pytest.MonkeyPatch.context() as patch:
        # Sizes at which this small file takes every path that a big one takes.
        patch.setattr("biolm.io.cells.bands.BAND_VALUES", 100)
        patch.setattr("biolm.io.cells.rows.SLAB_BYTES", 4 * GENES * 12)
        patch.setattr("biolm.io.cells.chunks.TASK_BYTES", 97 * 4)
        patch.setattr("biolm.io.cells.readers.loom.SLAB_LIMIT", 4 * GENES * 70)
        patch.setattr("biolm.io.cells.readers.loom.BAND_VALUES", 5 * CELLS)
        with open_cells(path) as opened:
            yield opened


@settings(max_examples=60)
@given(
    rows=st.integers(1, CELLS + 9),
    start=st.integers(0, CELLS + 3),
    length=st.none() | st.integers(0, CELLS + 9),
)
def test_blocks_join_to_the_same_matrix(
    source: CellSource, whole: Callable[..., Any], rows: int, start: int, length: int | None
) -> None:
    stop = None if length is None else start + length
    read = whole(source, rows, start, stop)
    assert read.shape[0] == len(range(CELLS)[start:stop])
    np.testing.assert_array_equal(read.toarray(), expected().toarray()[start:stop])


def test_two_readings_at_once(source: CellSource, whole: Callable[..., Any]) -> None:
    """Iterators over one source do not disturb each other."""
    pairs = list(zip(source.blocks(7), source.blocks(7), strict=True))
    for first, second in pairs:
        np.testing.assert_array_equal(first.data, second.data)
        np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_array_equal(whole(source).toarray(), expected().toarray())


def test_a_block_holds_a_row(source: CellSource) -> None:
    with pytest.raises(ConfigError, match="at least 1 row"):
        next(source.blocks(rows=0))
