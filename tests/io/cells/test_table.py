"""Small text tables."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from biolm.errors import InputError
from biolm.io.cells import open_cells

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x.csv.gz", "x.tsv.gz"])
def test_tables(adata: AnnData, tmp_path: Path, whole: Callable[..., Any], name: str) -> None:
    path = tmp_path / name
    adata.to_df().to_csv(path, sep="," if "csv" in name else "\t")
    with open_cells(path) as source:
        assert source.kind == "table"
        assert source.cell_names().tolist() == adata.obs_names.tolist()
        assert source.gene_columns()["index"].tolist() == adata.var_names.tolist()
        for rows in (1, 30, 97):
            np.testing.assert_array_equal(whole(source, rows).toarray(), adata.X.toarray())


def test_many_batches(adata: AnnData, tmp_path: Path, whole: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("biolm.io.cells.readers.table.TEXT_BYTES", 2_000)
    path = tmp_path / "x.csv"
    adata.to_df().to_csv(path)
    with open_cells(path) as source:
        np.testing.assert_array_equal(whole(source, 10, 33).toarray(), adata.X.toarray()[33:])


def test_header_of_r_quotes_and_decimals(tmp_path: Path, whole: Callable[..., Any]) -> None:
    path = tmp_path / "x.csv"
    path.write_text('"A","B, second"\n"cell 1",0,1.5\n"cell ""2""",1e3,\n')
    with open_cells(path) as source:
        assert source.gene_columns()["index"].tolist() == ["A", "B, second"]
        assert source.cell_names().tolist() == ["cell 1", 'cell "2"']
        np.testing.assert_array_equal(whole(source).toarray(), [[0, 1.5], [1000, np.nan]])


def test_numbers_as_cell_names(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("cell,A\n007,1\n1.50,2\n")
    with open_cells(path) as source:
        assert source.cell_names().tolist() == ["007", "1.50"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("cell,A,B\nc1,1,2\nc2,1,high\n", "holds 'high' in column 'B', which is not a number"),
        ("cell,A,B\nc1,1,2\nc2,1\n", "not a regular table"),
        ("cell,A,B\n", "is empty: X holds 0 cells and 2 genes"),
        ("cell\nc1\n", "is empty: X holds 1 cells and 0 genes"),
        ("", "is an empty file"),
        ("c,\udcff", "cannot be read as text"),
    ],
)
def test_bad_tables(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))

    def read() -> None:
        with open_cells(path) as source:
            list(source.blocks())

    with pytest.raises(InputError, match=match) as caught:
        read()
    assert "\n" not in str(caught.value)


def test_truncated_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    rows = "\n".join(f"c{number},{number}" for number in range(50_000))
    path.write_bytes(gzip.compress(f"cell,A\n{rows}\n".encode())[:-3000])
    with pytest.raises(InputError, match=r"x\.csv\.gz"):
        open_cells(path)


def test_no_other_matrix(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("cell,A\nc1,1\n")
    with pytest.raises(InputError, match="no matrix 'raw'; it holds: X"):
        open_cells(path, matrix="raw")
