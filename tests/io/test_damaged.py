"""Files that are damaged without being unreadable: they are refused, not read as something else."""

from __future__ import annotations

import shutil
import warnings
import zlib
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import biolm
from biolm.batch import Tokens
from biolm.errors import BiolmError, InputError
from biolm.io.cells import open_cells
from biolm.io.contained import check_hdf5
from biolm.io.hdf5_texts import check_lengths
from biolm.io.sequences import open_sequences
from biolm.io.sequences.store import SequenceStore, build_store
from biolm.io.tokens import TokenWriter, read_tokens
from biolm.tasks.search.build import IndexSettings, make_index
from biolm.tasks.search.index import CellTable, load, save


@pytest.fixture(scope="module")
def damaged(shared: Path) -> Path:
    return shared / "data/awkward/damaged"


def read(path: Path) -> float:
    with open_cells(path) as cells:
        for name in cells.obs_columns():
            cells.obs_column(name)
        cells.cell_names(), cells.gene_columns()
        return float(sum(block.data.sum() for block in cells.blocks()))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("indptr_zeros.h5ad", "row pointers that do not match"),
        ("zarr_without_indices.zarr", "1 of the pieces of /X/indices are missing"),
        ("short_cellid.loom", "CellID names 2 of 80"),
    ],
)
def test_the_given_files_of_cells(damaged: Path, name: str, said: str) -> None:
    assert read(damaged / "whole.h5ad") == 37925
    with pytest.raises(InputError, match=said):
        read(damaged / name)


def test_every_given_file_has_a_test(damaged: Path) -> None:
    """What is read has its name in one of these files; programs have a test of the same situation."""
    situations = {
        "replaced_input.py": "test_an_input_that_changes_while_it_is_read",
        "two_resume.sh": "test_two_jobs_on_one_output",
    }
    tests = Path(__file__).parents[1]
    names = ["io/test_damaged.py", "io/test_contained.py", "jobs/test_kills.py"]
    text = "".join((tests / name).read_text() for name in names)
    for path in damaged.iterdir():
        assert situations.get(path.name, f'"{path.name}') in text, path.name
    assert all(f"def {test}(" in text for test in situations.values())


def test_the_given_file_that_hdf5_reads_for_ever(damaged: Path) -> None:
    with pytest.raises(InputError, match=r"hang\.h5ad is damaged: the store of its texts at byte 2,048"):
        read(damaged / "hang.h5ad")


@pytest.mark.parametrize("kind", ["h5ad", "loom"])
def test_heaps_of_texts_that_never_end(tmp_path: Path, cells: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    shutil.copyfile(cells, path)
    if kind == "loom":
        with h5py.File(path, "w") as file:
            file["matrix"] = np.ones((9, 20))
            file.create_group("row_attrs")["Gene"] = [f"gene {n}" for n in range(9)]
            file.create_group("col_attrs")["CellID"] = [f"cell {n}" for n in range(20)]
    assert read(path) > 0
    content = bytearray(path.read_bytes())
    # The header of the third text of the first heap: it becomes that of free space of no size.
    at = content.index(b"GCOL") + 16
    for _ in range(2):
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[at : at + 16] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(InputError, match="reading it would never end"):
        read(path)


def test_heaps_are_found_behind_large_values(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("plain", data=np.frombuffer(b"GCOL\x01\0\0\0" * (1 << 18), np.uint8))
        noise = np.random.default_rng(0).integers(0, 255, 1 << 21).astype(np.uint8)
        file.create_dataset("packed", data=noise, chunks=(1 << 16,), compression="gzip")
        file["names"] = ["a", "b"]
    with h5py.File(path) as file:
        check_hdf5(file, path)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"GCOL")
    content[place + 16 : place + 32] = bytes(16)
    path.write_bytes(content)
    with h5py.File(path) as file, pytest.raises(InputError, match=f"at byte {place:,}"):
        check_hdf5(file, path)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_texts_that_are_said_to_be_gigabytes_long(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        shuffle = compression is not None
        file.create_dataset("x", data=["one", "two", "six"], compression=compression, shuffle=shuffle)
        check_lengths(file["x"])
    with h5py.File(path, "r+") as file:
        made = file["x"]
        if compression is None:
            with path.open("r+b") as raw:
                raw.seek(made.id.get_offset() + 16)
                raw.write((1 << 30).to_bytes(4, "little"))
        else:
            _, stored = made.id.read_direct_chunk((0,))
            planes = bytearray(zlib.decompress(stored))
            planes[3 * 3 + 1] = (
                0x40  # the highest byte of the second length, which lies apart from the others
            )
            made.id.write_direct_chunk((0,), zlib.compress(bytes(planes)))
    with h5py.File(path) as file, pytest.raises(ValueError, match="its texts are said to be 1,07"):
        check_lengths(file["x"])


def test_the_given_sequences(damaged: Path) -> None:
    def letters(name: str) -> list[bytes]:
        with open_sequences(damaged / name) as source:
            return [block.letters.tobytes() for block in source.blocks()]

    assert letters("bom.gb") == letters("whole.gb")
    assert len(letters("whole.gb")[0]) == 1200
    with pytest.raises(InputError, match="Expected sequence length 400, found 240"):
        letters("cut.gb")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = sp.csr_matrix(np.random.default_rng(0).poisson(0.7, (20, 9)).astype(np.float32))
    made = anndata.AnnData(counts)
    made.obs["type"] = np.array(["a", "b"] * 10)
    made.obs["type"] = made.obs["type"].astype("category")
    path = tmp_path_factory.mktemp("cells") / "x.h5ad"
    made.write_h5ad(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.write_zarr(path.with_suffix(".zarr"))
    return path


def replace(group: h5py.Group, name: str, values: object) -> None:
    del group[name]
    group[name] = values


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: replace(f["X"], "indptr", f["X/indptr"][...] * 0), "row pointers"),
        (lambda f: replace(f["X"], "indptr", np.minimum(f["X/indptr"][...], 30)), "row pointers"),
        (lambda f: replace(f["X"], "indptr", f["X/indptr"][...].astype("f8")), "no whole numbers"),
        (lambda f: replace(f["X"], "data", f["X/data"][...] * 1j), "complex"),
        (lambda f: replace(f["X"], "data", f["X/data"][:-3]), "values at"),
        (lambda f: replace(f["obs/type"], "codes", np.full(20, 5, np.int8)), "outside its 2 categories"),
        (lambda f: replace(f["obs/type"], "codes", np.full(20, -2, np.int8)), "outside its 2 categories"),
        (lambda f: replace(f["obs/type"], "codes", np.zeros(7, np.int8)), "holds no value"),
    ],
)
def test_parts_that_do_not_fit(cells: Path, tmp_path: Path, change, said: str) -> None:
    path = tmp_path / "x.h5ad"
    shutil.copyfile(cells, path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=said):
        read(path)


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
def test_zarr_without_a_part_of_its_matrix(cells: Path, tmp_path: Path, part: str) -> None:
    path = tmp_path / "x.zarr"
    shutil.copytree(cells.with_suffix(".zarr"), path)
    assert read(path) == read(cells)
    lost = [file for file in (path / "X" / part).rglob("*") if file.is_file() and file.name[0] not in ".z"]
    assert lost
    for file in lost:
        file.unlink()
    with pytest.raises(InputError, match=r"are missing|row pointers"):
        read(path)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x41
    path.write_bytes(content)


def make_own(folder: Path, kind: str, cells: Path) -> Path:
    """One of biolm's own folders or files."""
    path = folder / (f"x.{kind}" if kind in ("parquet", "arrow", "zarr") else kind)
    if kind == "store":
        biolm.pack(cells, path, progress=False)
    elif kind == "genome":
        (folder / "x.fa").write_text("".join(f">s{number}\nACGTACGTAA\n" for number in range(40)))
        with open_sequences(folder / "x.fa") as source:
            build_store([source], path)
    elif kind == "index":
        names = np.array([str(number) for number in range(300)])
        vectors = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
        path.mkdir()
        save(make_index(vectors, CellTable(names, names, np.arange(300)), IndexSettings()), path)
    else:
        ids = np.arange(900, dtype=np.int32)
        tokens = Tokens(ids=ids, offsets=np.arange(0, 901, 3), index=np.arange(300), values=None)
        with TokenWriter(path, metadata={"model": "x"}) as writer:
            writer.write(tokens, np.array([str(number) for number in range(300)]))
    return path


def content_of(path: Path, kind: str) -> object:
    if kind == "store":
        return read(path)
    if kind == "genome":
        store = SequenceStore(path)
        return store.names, store.letters.tobytes()
    if kind == "index":
        rows, distances = load(path).search(np.eye(4, dtype=np.float32), 3)
        return rows.tolist(), distances.tolist()
    return [(names.tolist(), block.ids.tolist()) for names, block in read_tokens(path)]


@pytest.mark.parametrize("kind", ["store", "genome", "index", "parquet", "arrow", "zarr"])
def test_a_flipped_byte_of_our_own_files_is_told(
    cells: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = make_own(tmp_path, kind, cells)
    expected = content_of(whole, kind)
    files = [file for file in whole.rglob("*") if file.is_file()] if whole.is_dir() else [whole]
    rng = np.random.default_rng(1)
    told = same = 0
    for file in files:
        kept = file.read_bytes()
        for place in rng.integers(0, len(kept), 12).tolist():
            flip(file, place)
            try:
                assert content_of(whole, kind) == expected, f"{file.name} at {place} changed what is read"
                same += 1
            except BiolmError:
                told += 1
            file.write_bytes(kept)
    assert told >= same
    with capsys.disabled():
        print(f" {kind}: {told + same} flipped bytes, {told} refused, {same} read as before", end="")
