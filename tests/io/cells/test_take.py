"""Cells by number are the cells in order, from every storage, in any order, in bounded memory."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from biolm.errors import ConfigError, InputError
from biolm.io.cells import open_cells
from biolm.io.cells.mapped import FileArray, file_array_of

ROWS = [[5], [0, 1, 2], [96, 0, 50, 50, 3], list(range(96, -1, -1)), [], [10, 11, 40, 41, 42]]


@pytest.fixture(params=["plain", "gzip", "zarr", "memory", "dense"])
def source(request, adata, tmp_path):
    if request.param == "memory":
        return open_cells(adata)
    if request.param == "dense":
        adata.X = adata.X.toarray()
    path = tmp_path / ("x.zarr" if request.param == "zarr" else "x.h5ad")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Writing zarr v2")  # of anndata, about its own default
        if request.param == "zarr":
            adata.write_zarr(path)
        else:
            adata.write_h5ad(path, compression="gzip" if request.param == "gzip" else None)
    return open_cells(path)


@pytest.mark.parametrize("rows", ROWS, ids=len)
def test_rows_in_any_order(source, adata, rows):
    counts = np.asarray(adata.X.todense() if hasattr(adata.X, "todense") else adata.X)
    with source:
        block = source.take(np.array(rows, np.int64))
    assert block.numbers.tolist() == rows
    assert block.indices.dtype == np.int32
    found = np.zeros((len(rows), adata.n_vars))
    found[np.repeat(np.arange(len(rows)), np.diff(block.indptr)), block.indices] = block.data
    np.testing.assert_array_equal(found, counts[rows])


def test_only_what_lies_flat_in_a_file_has_random_access(adata, tmp_path):
    adata.write_h5ad(tmp_path / "plain.h5ad")
    adata.write_h5ad(tmp_path / "gzip.h5ad", compression="gzip")
    found = []
    for name in ("plain", "gzip"):
        with open_cells(tmp_path / f"{name}.h5ad") as cells:
            found.append(cells.random_access)
    assert found == [True, False]


def test_rows_outside_are_refused(source):
    with source:
        for rows in ([97], [-1, 3]):
            with pytest.raises(ConfigError, match="from 0 to 96"):
                source.take(np.array(rows))


def test_a_part_and_a_choice_of_a_block_keep_their_numbers(source):
    with source:
        [block] = source.blocks(97)
        taken = block.take(np.array([9, 4, 5]))
        assert taken.numbers.tolist() == [9, 4, 5]
        assert taken.part(1, 3).numbers.tolist() == [4, 5]
        assert block.part(90, 97).numbers.tolist() == list(range(90, 97))


def test_a_column_outside_the_genes_is_damage(adata, tmp_path):
    adata.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["X/indices"][-1] = 9999
    with open_cells(tmp_path / "x.h5ad") as cells:
        assert len(cells.take(np.array([0, 1]))) == 2
        with pytest.raises(InputError, match="damaged"):
            cells.take(np.arange(97))


@pytest.mark.parametrize(
    ("options", "dtype", "flat"),
    [
        ({}, "f4", True),
        ({"chunks": (7,)}, "f4", True),
        ({"chunks": (7,), "compression": "gzip"}, "f4", False),
        ({}, ">i4", False),
    ],
)
def test_which_datasets_are_mapped(tmp_path: Path, monkeypatch, options, dtype, flat):
    monkeypatch.setattr("biolm.io.cells.mapped.RELEASE_BYTES", 40)  # pages go, values stay
    values = np.arange(50).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        made = file.create_dataset("x", (50,), dtype, maxshape=(None,) if options else None, **options)
        other = file.create_dataset("y", (50,), "u1", chunks=(3,))
        for start in range(0, 50, 10):  # in turns, so that the pieces of one lie between those of the other
            made[start : start + 10], other[start : start + 10] = values[start : start + 10], 1
    with h5py.File(tmp_path / "x.h5") as file:
        found = file_array_of(file["x"])
        assert isinstance(found, FileArray) == flat
        if found is not None:
            for start, stop in ((0, 50), (3, 60), (6, 8), (20, 20)):
                np.testing.assert_array_equal(found(start, stop), values[start:stop])
            first, last = np.array([30, 0, 8, 8]), np.array([33, 50, 9, 8])
            wanted = np.concatenate([values[a:b] for a, b in zip(first, last, strict=True)])
            np.testing.assert_array_equal(found.copy(first, last), wanted)
            np.testing.assert_array_equal(found.copy(first[:1], last[:1]), values[30:33])
            assert len(found.copy(first[:0], last[:0])) == 0


def test_a_file_with_a_block_before_it_is_left_to_hdf5(tmp_path: Path):
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=512) as file:
        file["x"] = np.arange(5)
    with h5py.File(tmp_path / "x.h5") as file:
        assert file_array_of(file["x"]) is None
