"""Files that people have and readers stumble over: ../shared/data/awkward/cells, each with its value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biolm.errors import InputError
from biolm.io.cells import open_cells
from biolm.io.cells.labels import label_text


@pytest.fixture(scope="module")
def awkward(shared: Path) -> Path:
    """Small files, each named for what is odd about it."""
    return shared / "data" / "awkward" / "cells"


def matrix(path: Path, whole: Callable[..., Any], name: str = "X", *, transpose: bool = False) -> Any:
    """Cell names, gene names and dense values of a file."""
    with open_cells(path, matrix=name, transpose=transpose) as source:
        columns = source.gene_columns()
        return source.cell_names().tolist(), columns["index"].tolist(), whole(source, 7).toarray()


def test_entries_in_parts_are_summed(awkward: Path, whole: Callable[..., Any]) -> None:
    anndata = pytest.importorskip("anndata")
    path = awkward / "csr_repeated_entries.h5ad"
    names, genes, values = matrix(awkward / "csr_canonical.h5ad", whole)
    parts = matrix(path, whole)
    assert parts[:2] == (names, genes)
    np.testing.assert_array_equal(parts[2], values)
    with open_cells(anndata.read_h5ad(path)) as source:
        np.testing.assert_array_equal(whole(source, 7).toarray(), values)
        assert sum(len(block.data) for block in source.blocks(4)) == np.count_nonzero(values)
    with open_cells(path) as source:
        rows = np.array([9, 2, 2])
        taken = source.take(rows)
        dense = np.zeros((3, source.n_genes))
        dense[np.repeat(range(3), np.diff(taken.indptr)), taken.indices] = taken.data
        np.testing.assert_array_equal(dense, values[rows])


@pytest.mark.parametrize("name", ["cite_10x.h5", "cite_mtx", "cite_gex_and_adt.h5ad", "object"])
def test_antibodies_are_no_genes(awkward: Path, whole: Callable[..., Any], name: str) -> None:
    anndata = pytest.importorskip("anndata")
    path: Any = awkward / name
    if name == "object":
        path = anndata.read_h5ad(awkward / "cite_gex_and_adt.h5ad")
    _, genes, values = matrix(awkward / "cite_gex_only.h5ad", whole)
    read = matrix(path, whole)
    assert read[1] == genes
    np.testing.assert_array_equal(read[2], values)
    with open_cells(path) as source:
        [note] = source.notes
        assert "389 features of Gene Expression are read, 14 of Antibody Capture left out" in note
        assert "`layer='Antibody Capture'`" in note
    proteins = matrix(path, whole, "Antibody Capture")
    assert proteins[2].shape == (30, 14)
    assert proteins[2].sum() > 0
    with open_cells(awkward / "cite_gex_only.h5ad") as source:
        assert not source.notes


def test_labels_of_anndata_06(awkward: Path, whole: Callable[..., Any]) -> None:
    with open_cells(awkward / "anndata06.h5ad") as source:
        labels = source.obs_column("cell_type")
        assert source.matrices() == ["X"]
    import h5py

    with h5py.File(awkward / "anndata06.h5ad") as file:
        stored = file["uns/cell_type_categories"][...].astype(str)
        codes = file["obs"]["cell_type"]
    assert labels.tolist() == stored[codes].tolist()
    assert len(set(labels.tolist())) == 3


def test_one_spelling_of_whole_number_labels(awkward: Path) -> None:
    with (
        open_cells(awkward / "labels_int.h5ad") as whole,
        open_cells(awkward / "labels_int_one_missing.h5ad") as gap,
    ):
        labels = label_text(whole.obs_column("leiden"))
        others = label_text(gap.obs_column("leiden"))
    assert (others == "").sum() == 1
    assert set(others.tolist()) - {""} == set(labels.tolist()) == {"0", "1", "2"}


@pytest.mark.parametrize("name", ["mtx_blank_line", "mtx_quoted_names", "mtx_third_column_unknown"])
def test_spellings_of_mtx_folders(awkward: Path, whole: Callable[..., Any], name: str) -> None:
    cells, genes, values = matrix(awkward / name, whole)
    expected = matrix(awkward / "mtx_blank_line", whole)
    assert cells == [f"cell{number}" for number in range(12)]
    assert genes[:3] == ["ISG15", "RPL22", "ENO1"]
    assert (values.shape, np.count_nonzero(values)) == ((12, 578), 3930)
    assert genes == expected[1]
    np.testing.assert_array_equal(values, expected[2])


def test_tables_of_every_spelling(awkward: Path, whole: Callable[..., Any]) -> None:
    cells, genes, values = matrix(awkward / "semicolon.csv", whole)
    assert (cells[:2], genes[:2]) == (["cell0", "cell1"], ["HES4", "TNFRSF4"])
    assert values.shape == (12, 765)
    turned = matrix(awkward / "genes_x_cells.csv", whole, transpose=True)
    assert turned[:2] == (cells, genes)
    np.testing.assert_array_equal(turned[2], values)
    bare = matrix(awkward / "no_cell_names.csv", whole)
    assert bare[:2] == ([str(number) for number in range(12)], genes)
    np.testing.assert_array_equal(bare[2], values)
    with open_cells(awkward / "no_cell_names.csv") as source:
        assert "has no cell names" in source.notes[0]
    mangled = matrix(awkward / "names_by_R.csv", whole)
    np.testing.assert_array_equal(mangled[2], matrix(awkward / "names_whole.csv", whole)[2])


def test_raw_of_none(shared: Path) -> None:
    path = shared / "goldens" / "geneformer_tokens" / "counts.h5ad"
    with open_cells(path) as source:
        assert "raw/X" not in source.matrices()
        assert next(source.blocks(5)).data.min() >= 0
    with pytest.raises(InputError, match="no matrix 'raw'"):
        open_cells(path, matrix="raw")


def old_file(path: Path) -> Path:
    """A file of anndata 0.6: records for tables, categories in uns, the raw matrix at the root."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, genes in (("X", 2), ("raw.X", 3)):
            group = file.create_group(name)
            group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", (2, genes)
            group["data"], group["indices"] = np.full(2, float(genes), np.float32), np.array([0, genes - 1])
            group["indptr"] = np.array([0, 1, 2])
        obs = [(b"a", 1, 7), (b"b", -1, 8)]
        file["obs"] = np.array(obs, dtype=[("index", "S1"), ("kind", "i1"), ("age", "i4")])
        file["var"] = np.array([(b"G0", 0), (b"G1", 0)], dtype=[("index", "S2"), ("chrom", "i1")])
        file["raw.var"] = np.array([(b"G0",), (b"G1",), (b"G2",)], dtype=[("index", "S2")])
        file["uns/kind_categories"] = np.array([b"B", "T caf\xe9".encode("latin-1")], "S9")
        file["uns/chrom_categories"] = np.bytes_(b"chr1")  # one category was stored as a scalar
    return path


def test_raw_matrix_and_labels_of_anndata_06(tmp_path: Path, whole: Callable[..., Any]) -> None:
    path = old_file(tmp_path / "old.h5ad")
    with open_cells(path) as source:
        assert source.matrices() == ["X", "raw/X"]
        assert source.obs_column("kind").tolist() == ["T café", ""]
        assert source.obs_column("age").tolist() == [7, 8]
        assert source.gene_columns()["chrom"].tolist() == ["chr1", "chr1"]
    _, genes, values = matrix(path, whole, "raw")
    assert genes == ["G0", "G1", "G2"]
    assert values.tolist() == [[3, 0, 0], [0, 0, 3]]


def test_codes_beyond_their_categories_are_damage(tmp_path: Path) -> None:
    import h5py

    path = old_file(tmp_path / "old.h5ad")
    with h5py.File(path, "r+") as file:
        del file["uns/kind_categories"]
        file["uns/kind_categories"] = np.array([b"B"], "S9")
    with pytest.raises(InputError, match="'kind' has codes beyond its 1 categories"):
        open_cells(path)


def test_several_modalities_in_one_file_are_named(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5mu", "w") as file:
        for name in ("obs", "var", "mod/rna", "mod/prot"):
            file.create_group(name)
    with pytest.raises(InputError, match="is a MuData file of prot, rna; write the modality of the genes"):
        open_cells(tmp_path / "x.h5mu")


@pytest.mark.parametrize(
    ("types", "genes", "others"),
    [
        (["GEX", "GEX", "ADT", "ATAC"], 2, ["ADT", "ATAC"]),
        (["rna", "", "prot", "prot"], 2, ["prot"]),
        (["protein_coding", "lncRNA", "protein_coding", "unknown"], 4, []),
        (["protein_coding", "lncRNA", "Antibody Capture", "Antibody Capture"], 2, ["Antibody Capture"]),
        (["Antibody Capture"] * 3 + ["Peaks"], 0, ["Antibody Capture", "Peaks"]),
    ],
)
def test_feature_types_however_they_are_called(types: list[str], genes: int, others: list[str]) -> None:
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    var = pandas.DataFrame({"feature_types": types}, index=[f"G{number}" for number in range(4)])
    cells = anndata.AnnData(np.arange(8, dtype=np.float32).reshape(2, 4), var=var)
    cells.layers["counts"] = cells.X.copy()
    if not genes:
        with pytest.raises(InputError, match="no matrix 'X'; it holds: X/Antibody Capture, X/Peaks"):
            open_cells(cells)
        with open_cells(cells, matrix="Peaks") as source:
            assert source.n_genes == 1
        return
    for name in ("X", "counts"):
        with open_cells(cells, matrix=name) as source:
            assert source.n_genes == genes
            assert len(source.notes) == bool(others)
            base = "X" if name == "X" else "layers/counts"
            assert [other for other in source.matrices() if other.startswith(f"{base}/")] == [
                f"{base}/{other}" for other in others
            ]
