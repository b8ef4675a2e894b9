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
        assert "--layer 'Antibody Capture'" in note
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
