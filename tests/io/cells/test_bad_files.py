"""Files that cannot be read end in one clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from biolm.errors import InputError, OutputError
from biolm.io.cells import duplicated_names, open_cells


def minimal(path: Path, n_cells: int = 6, n_genes: int = 5, storage: str = "csr") -> Path:
    """An h5ad of two values a cell."""
    rows, columns = (n_cells, n_genes) if storage == "csr" else (n_genes, n_cells)
    with h5py.File(path, "w") as file:
        for name, size in (("obs", n_cells), ("var", n_genes)):
            file[f"{name}/_index"] = np.arange(size).astype("S")
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = f"{storage}_matrix", (n_cells, n_genes)
        group["indptr"] = np.arange(rows + 1) * 2
        group["indices"] = np.tile(np.array([0, columns - 1], np.int32), rows)
        group["data"] = np.ones(2 * rows, np.float32)
    return path


def edit(path: Path, change: Callable[[Any], None]) -> Path:
    """Change an h5ad."""
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def refuse(path: Path, match: str, **options: Any) -> None:
    """Opening or reading fails with one sentence that names the file."""

    def read() -> None:
        with open_cells(path, **options) as source:
            list(source.blocks(4))
            source.cell_names()
            source.gene_columns()

    with pytest.raises(InputError, match=match) as caught:
        read()
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message


def test_the_minimal_file_is_sound(tmp_path: Path, whole: Callable[..., Any]) -> None:
    for storage in ("csr", "csc"):
        with open_cells(minimal(tmp_path / f"{storage}.h5ad", storage=storage)) as source:
            assert whole(source).sum() == (12 if storage == "csr" else 10)
            assert len(source.cell_names()) == 6


def test_missing(tmp_path: Path) -> None:
    refuse(tmp_path / "x.h5ad", "no such file")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_truncated(tmp_path: Path, repository: Path, keep: float) -> None:
    content = (repository / "data" / "cells" / "pbmc68k_reduced_counts_700.h5ad").read_bytes()
    path = tmp_path / "x.h5ad"
    path.write_bytes(content[: int(len(content) * keep)])
    refuse(path, "is truncated or damaged")


@pytest.mark.parametrize("suffix", ["h5ad", "loom", "h5"])
def test_text_with_the_name_of_hdf5(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_text("cell,gene\n")
    refuse(path, "is not an HDF5 file")


def test_empty_and_unknown_files(tmp_path: Path) -> None:
    path = tmp_path / "x.h5ad"
    path.touch()
    refuse(path, "is an empty file")
    path = tmp_path / "x.rds"
    path.write_bytes(b"RDX3")
    refuse(path, "none of the known formats")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["weights"] = np.ones(3)
    refuse(tmp_path / "x.h5", "neither an h5ad, a loom nor a 10x file")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    refuse(tmp_path, "neither an AnnData zarr store nor a 10x folder")


@pytest.mark.parametrize(
    ("part", "match"),
    [
        ("X", "it has no X"),
        ("obs", "it has no obs"),
        ("var", "it has no var"),
        ("obs/_index", "has no index"),
    ],
)
def test_lacking_parts(tmp_path: Path, part: str, match: str) -> None:
    refuse(edit(minimal(tmp_path / "x.h5ad"), lambda file: file.__delitem__(part)), match)


def test_unknown_matrix_lists_what_there_is(tmp_path: Path) -> None:
    path = minimal(tmp_path / "x.h5ad")
    edit(path, lambda file: file.create_dataset("layers/counts", data=np.ones((6, 5))))
    for asked in ("spliced", "raw", "layers/spliced"):
        refuse(path, f"no matrix '{asked}'; it holds: X, layers/counts", matrix=asked)


@pytest.mark.parametrize(("n_cells", "n_genes"), [(0, 5), (6, 0)])
def test_empty_table(tmp_path: Path, n_cells: int, n_genes: int) -> None:
    path = minimal(tmp_path / "x.h5ad", n_cells, max(n_genes, 1))
    if n_genes == 0:
        edit(path, lambda file: file["X"].attrs.__setitem__("shape", (6, 0)))
    refuse(path, f"is empty: X holds {n_cells} cells and {n_genes} genes")


@pytest.mark.parametrize("storage", ["csr", "csc"])
@pytest.mark.parametrize(
    ("part", "place", "value", "match"),
    [
        ("indptr", 2, 9, "row pointers"),
        ("indptr", 0, 1, "row pointers"),
        ("indptr", -1, 99, "row pointers"),
        ("indices", 3, 99, "outside"),
        ("indices", 3, -1, "outside"),
    ],
)
def test_damaged_sparse_matrix(
    tmp_path: Path, storage: str, part: str, place: int, value: int, match: str
) -> None:
    def damage(file: Any) -> None:
        array = file[f"X/{part}"][:]
        array[place] = value
        file[f"X/{part}"][:] = array

    refuse(edit(minimal(tmp_path / "x.h5ad", storage=storage), damage), f"is damaged.*{match}")


def test_damage_is_found_in_its_block(tmp_path: Path) -> None:
    """Blocks before the damaged one are good."""
    path = minimal(tmp_path / "x.h5ad")
    edit(path, lambda file: file["X/indices"].__setitem__(9, 77))
    with open_cells(path) as source:
        blocks = source.blocks(4)
        assert len(next(blocks)) == 4
        with pytest.raises(InputError, match="is damaged"):
            next(blocks)


def test_missing_parts_of_a_sparse_matrix(tmp_path: Path) -> None:
    refuse(edit(minimal(tmp_path / "a.h5ad"), lambda file: file.__delitem__("X/indices")), "it lacks indices")

    def rename(file: Any) -> None:
        file["X"].attrs["encoding-type"] = "coo_matrix"

    refuse(edit(minimal(tmp_path / "b.h5ad"), rename), "is of kind 'coo_matrix'")


def test_no_numbers(tmp_path: Path) -> None:
    def replace(file: Any) -> None:
        del file["X"]
        file["X"] = np.full((6, 5), b"x")

    refuse(edit(minimal(tmp_path / "x.h5ad"), replace), "no table of numbers")


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    def shorten(file: Any) -> None:
        del file["obs/_index"]
        file["obs/_index"] = np.arange(4).astype("S")

    refuse(edit(minimal(tmp_path / "x.h5ad"), shorten), "X has 6 cells, but its table names 4")


def test_a_chunk_that_does_not_inflate(tmp_path: Path) -> None:
    def damage(file: Any) -> None:
        values = file["X/data"][:]
        del file["X/data"]
        data = file.create_dataset("X/data", data=values, chunks=(12,), compression="gzip")
        data.id.write_direct_chunk((0,), b"no zlib stream")

    refuse(edit(minimal(tmp_path / "x.h5ad"), damage), r"is damaged: cells 0 to 4 cannot be read")


def test_damaged_names(tmp_path: Path) -> None:
    def damage(file: Any) -> None:
        del file["obs/_index"]
        names = file.create_dataset("obs/_index", (6,), "S8", chunks=(6,), compression="gzip")
        names.id.write_direct_chunk((0,), b"no zlib stream")

    refuse(edit(minimal(tmp_path / "x.h5ad"), damage), r"is damaged: cell names cannot be read")


def test_damaged_zarr(tmp_path: Path) -> None:
    for name, content in (("zarr.json", "{"), (".zgroup", '{"zarr_format": 7}')):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(content)
        refuse(folder, "metadata cannot be read|it has no obs|not valid JSON")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as a user whom permissions do not bind.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    refuse(minimal(tmp_path / "x.h5ad"), "permission denied")


def test_no_space_for_the_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("biolm.io.cells.bands._write_band", full)
    path = minimal(tmp_path / "x.h5ad", storage="csc")
    with open_cells(path) as source, pytest.raises(OutputError, match=r"no space left .* set TMPDIR"):
        next(source.blocks())


def test_unknown_obs_column_lists_what_there_is(tmp_path: Path) -> None:
    path = edit(minimal(tmp_path / "x.h5ad"), lambda file: file.__setitem__("obs/donor", np.zeros(6)))
    with (
        open_cells(path) as source,
        pytest.raises(InputError, match="no obs column 'batch'; its columns: donor"),
    ):
        source.obs_column("batch")


def test_not_an_object_of_cells() -> None:
    with pytest.raises(InputError, match="not from a ndarray"):
        open_cells(np.ones((3, 4)))  # type: ignore[arg-type]


def test_duplicated_names() -> None:
    assert duplicated_names(np.array(["a", "b", "c"])) == 0
    assert duplicated_names(np.array(["a", "b", "a", "a", "b"])) == 3
