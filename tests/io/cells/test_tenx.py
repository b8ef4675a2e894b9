"""10x files and folders, against the counts they were written from and against scanpy."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import mmwrite
from scipy.sparse import csr_matrix

from biolm.errors import InputError
from biolm.io.cells import open_cells

CELLS, GENES, PROTEINS = 40, 30, 4
TYPES = ["Gene Expression"] * GENES + ["Antibody Capture"] * PROTEINS
IDS = [f"ENSG{number:011d}" for number in range(GENES + PROTEINS)]
NAMES = [f"SYM{number}" for number in range(GENES + PROTEINS)]
BARCODES = [f"AAAC{number}-1" for number in range(CELLS)]


def counts() -> csr_matrix:
    """``(cells, features)``, proteins among the genes' columns' end; one cell without counts."""
    values = np.random.default_rng(1).poisson(0.7, (CELLS, GENES + PROTEINS))
    values[4] = 0
    return csr_matrix(values.astype(np.int32))


def write_h5(path: Path, groups: dict[str, csr_matrix], *, version: int) -> Path:
    """A Cell Ranger file."""
    with h5py.File(path, "w") as file:
        for name, matrix in groups.items():
            group = file.create_group(name)
            for part in ("data", "indices", "indptr"):
                group.create_dataset(part, data=getattr(matrix, part), compression="gzip", shuffle=True)
            group["shape"] = matrix.shape[::-1]
            group["barcodes"] = np.array(BARCODES, "S18")
            if version == 2:
                group["genes"], group["gene_names"] = np.array(IDS, "S"), np.array(NAMES, "S")
                continue
            features = {"id": IDS, "name": NAMES, "feature_type": TYPES, "genome": ["GRCh38"] * len(IDS)}
            for part, column in features.items():
                group[f"features/{part}"] = np.array(column, "S")
    return path


def write_folder(
    folder: Path, *, zipped: bool, genes: str = "features.tsv", prefix: str = "", field: str = "integer"
) -> Path:
    """A Cell Ranger folder."""
    folder.mkdir(exist_ok=True)
    plain = folder / f"{prefix}matrix.mtx"
    mmwrite(
        plain, counts().T.astype(float if field == "real" else int), comment="made for a test", field=field
    )
    columns = zip(IDS, NAMES, TYPES, strict=True)
    rows = ["\t".join(row if genes == "features.tsv" else row[:2]) for row in columns]
    (folder / f"{prefix}{genes}").write_text("\n".join(rows) + "\n")
    (folder / f"{prefix}barcodes.tsv").write_text("\n".join(BARCODES) + "\n")
    if zipped:
        for file in list(folder.glob(f"{prefix}*")):
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    return folder


@pytest.mark.parametrize("make", ["h5", "mtx"])
def test_gene_expression_by_default(tmp_path: Path, whole: Callable[..., Any], make: str) -> None:
    if make == "h5":
        path = write_h5(tmp_path / "x.h5", {"matrix": counts()}, version=3)
    else:
        path = write_folder(tmp_path / "x", zipped=True)
    with open_cells(path) as source:
        assert source.matrices() == ["X", "Antibody Capture"]
        assert (source.n_cells, source.n_genes) == (CELLS, GENES)
        np.testing.assert_array_equal(whole(source, 7).toarray(), counts().toarray()[:, :GENES])
        assert source.cell_names().tolist() == BARCODES
        columns = source.gene_columns()
        assert columns["index"].tolist() == NAMES[:GENES]
        assert columns["gene_ids"].tolist() == IDS[:GENES]
        assert set(columns["feature_types"]) == {"Gene Expression"}
    with open_cells(path, matrix="Antibody Capture") as source:
        np.testing.assert_array_equal(whole(source).toarray(), counts().toarray()[:, GENES:])
        assert source.gene_columns()["index"].tolist() == NAMES[GENES:]
    with pytest.raises(InputError, match="holds: X, Antibody Capture"):
        open_cells(path, matrix="Peaks")


def test_legacy_file(tmp_path: Path, whole: Callable[..., Any]) -> None:
    path = write_h5(tmp_path / "x.h5", {"GRCh38": counts()}, version=2)
    with open_cells(path) as source:
        assert (source.kind, source.matrices()) == ("10x-h5", ["X"])
        np.testing.assert_array_equal(whole(source).toarray(), counts().toarray())
        columns = source.gene_columns()
        assert (columns["index"].tolist(), columns["gene_ids"].tolist()) == (NAMES, IDS)


def test_legacy_file_of_two_genomes(tmp_path: Path, whole: Callable[..., Any]) -> None:
    path = write_h5(tmp_path / "x.h5", {"hg19": counts(), "mm10": counts() * 2}, version=2)
    with pytest.raises(InputError, match="no matrix 'X'; it holds: hg19, mm10"):
        open_cells(path)
    with open_cells(path, matrix="mm10") as source:
        np.testing.assert_array_equal(whole(source).toarray(), 2 * counts().toarray())


def test_incomplete_file(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "x.h5", {"matrix": counts()}, version=3)
    with h5py.File(path, "r+") as file:
        del file["matrix/indptr"]
    with pytest.raises(InputError, match=r"not a whole 10x file.*indptr"):
        open_cells(path)


@pytest.mark.parametrize("version", ["1.0.0/filtered_feature_bc_matrix.h5", "2.1.0/raw_probe_bc_matrix.h5"])
@pytest.mark.filterwarnings("ignore:Variable names are not unique")  # scanpy, on the file's own names
def test_measured_files(shared: Path, whole: Callable[..., Any], version: str) -> None:
    scanpy = pytest.importorskip("scanpy")
    path = shared / "data" / "spatial" / "visium_heart_reader" / version
    expected = scanpy.read_10x_h5(path)
    with open_cells(path) as source:
        assert (whole(source, 64) != expected.X).nnz == 0
        assert source.cell_names().tolist() == expected.obs_names.tolist()
        assert source.gene_columns()["index"].tolist() == expected.var_names.tolist()
        assert source.gene_columns()["gene_ids"].tolist() == expected.var["gene_ids"].tolist()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("genes", ["features.tsv", "genes.tsv"])
@pytest.mark.parametrize("prefix", ["", "GSM1_"])
def test_folders(tmp_path: Path, whole: Callable[..., Any], zipped: bool, genes: str, prefix: str) -> None:
    folder = write_folder(tmp_path / "x", zipped=zipped, genes=genes, prefix=prefix)
    matrix = next(folder.glob("*matrix*"))
    wanted = GENES if genes == "features.tsv" else GENES + PROTEINS
    for path in (folder, matrix):
        with open_cells(path) as source:
            assert source.kind == "10x-mtx"
            np.testing.assert_array_equal(whole(source).toarray(), counts().toarray()[:, :wanted])
            assert source.cell_names().tolist() == BARCODES


def test_folder_agrees_with_scanpy(tmp_path: Path, whole: Callable[..., Any]) -> None:
    scanpy = pytest.importorskip("scanpy")
    folder = write_folder(tmp_path / "x", zipped=True)
    expected = scanpy.read_10x_mtx(folder)
    with open_cells(folder) as source:
        assert (whole(source) != expected.X).nnz == 0
        assert source.gene_columns()["index"].tolist() == expected.var_names.tolist()


def test_values_with_decimals(tmp_path: Path, whole: Callable[..., Any]) -> None:
    folder = write_folder(tmp_path / "x", zipped=False, field="real")
    with open_cells(folder) as source:
        read = whole(source)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read.toarray(), counts().toarray()[:, :GENES])


def test_entries_in_any_order(
    tmp_path: Path, whole: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biolm.io.cells.readers.tenx_mtx.TEXT_BYTES", 200)  # many batches of a few lines
    folder = write_folder(tmp_path / "x", zipped=False, genes="genes.tsv")
    path = folder / "matrix.mtx"
    lines = path.read_text().splitlines()
    first = next(place for place, line in enumerate(lines) if line[0] != "%") + 1
    np.random.default_rng(2).shuffle(shuffled := lines[first:])
    path.write_text("\n".join(lines[:first] + shuffled) + "\n")
    with open_cells(folder) as source:
        for rows in (3, 40):
            np.testing.assert_array_equal(whole(source, rows).toarray(), counts().toarray())
        np.testing.assert_array_equal(whole(source, 5, 17, 23).toarray(), counts().toarray()[17:23])


def test_bad_folders(tmp_path: Path) -> None:
    def refuse(match: str) -> None:
        def read() -> None:
            with open_cells(folder) as source:
                list(source.blocks())

        with pytest.raises(InputError, match=match) as caught:
            read()
        assert "\n" not in str(caught.value)

    folder = write_folder(tmp_path / "x", zipped=False)
    path, text = folder / "matrix.mtx", (folder / "matrix.mtx").read_text()
    lines = text.splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    refuse("is truncated: it holds")
    path.write_text(text.replace("coordinate integer general", "array integer general"))
    refuse("MatrixMarket file of kind 'matrix array integer general'")
    path.write_text("".join([*lines[:-1], f"{GENES + PROTEINS + 1} 1 1\n"]))
    refuse("entries outside its own size")
    path.write_text("".join([*lines[:-1], "1 x 1\n"]))
    refuse("is damaged")
    path.write_text("genes")
    refuse("truncated or not a MatrixMarket file")
    path.write_text(text)
    (folder / "barcodes.tsv").write_text("AAAC-1\n")
    refuse("do not belong together")
    (folder / "barcodes.tsv").unlink()
    refuse(r"has no barcodes\.tsv beside it")
    write_folder(folder, zipped=False, prefix="second_")
    refuse("holds several matrices")
