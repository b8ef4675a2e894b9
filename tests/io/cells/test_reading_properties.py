"""However a table of counts is spelled, the same counts are read."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from biolm.io.cells import open_cells
from biolm.io.cells.labels import label_text
from biolm.io.cells.repeated import each_once

Entry = tuple[int, int, int]


@st.composite
def entries(draw: st.DrawFn) -> tuple[int, int, list[Entry]]:
    """Cells, genes, and entries (cell, gene, count) in any order; places may repeat."""
    cells, genes = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    places = st.tuples(st.integers(0, cells - 1), st.integers(0, genes - 1), st.integers(1, 200))
    return cells, genes, draw(st.lists(places, min_size=1, max_size=30))


def dense_of(cells: int, genes: int, found: list[Entry]) -> NDArray[np.int64]:
    """The counts that entries add up to."""
    dense = np.zeros((cells, genes), np.int64)
    for cell, gene, count in found:
        dense[cell, gene] += count
    return dense


def compressed(found: list[Entry], size: int, axis: int) -> tuple[Any, Any, Any]:
    """Values, minor indices and pointers, entries of one row (or column) in the order given."""
    order = sorted(range(len(found)), key=lambda number: found[number][axis])
    major = [found[number][axis] for number in order]
    return (
        np.array([found[number][2] for number in order], np.uint8),
        np.array([found[number][1 - axis] for number in order], np.int32),
        np.searchsorted(major, np.arange(size + 1)),
    )


def read(path: Any, *, matrix: str = "X", rows: int = 2, transpose: bool = False) -> NDArray[np.float64]:
    """All cells, by blocks and by rows in reverse; both must agree, and hold each gene once."""
    with open_cells(path, matrix=matrix, transpose=transpose) as source:
        dense = np.zeros((source.n_cells, source.n_genes))
        for block in [*source.blocks(rows), source.take(np.arange(source.n_cells)[::-1])]:
            lines = np.zeros((len(block), source.n_genes))
            for row in range(len(block)):
                span = slice(block.indptr[row], block.indptr[row + 1])
                assert len(set(block.indices[span].tolist())) == span.stop - span.start
                lines[row, block.indices[span]] = block.data[span]
            assert block.rows is None or np.array_equal(lines, dense[block.rows])
            dense[block.numbers] = lines
        return dense


@given(entries(), st.sampled_from(["csr", "csc"]), st.booleans())
def test_entries_in_parts_are_summed_in_h5ad(
    table: tuple[int, int, list[Entry]], storage: str, compress: bool
) -> None:
    cells, genes, found = table
    axis = 0 if storage == "csr" else 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5ad"
        with h5py.File(path, "w") as file:
            for name, size in (("obs", cells), ("var", genes)):
                group = file.create_group(name)
                group.attrs["_index"] = "_index"
                group["_index"] = np.array([f"{name}{number}" for number in range(size)], "S9")
            group = file.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = f"{storage}_matrix", (cells, genes)
            parts = compressed(found, (cells, genes)[axis], axis)
            for name, values in zip(("data", "indices", "indptr"), parts, strict=True):
                group.create_dataset(name, data=values, compression="gzip" if compress else None)
        np.testing.assert_array_equal(read(path), dense_of(cells, genes, found))


@given(entries(), st.sampled_from(["csr", "csc"]))
def test_entries_in_parts_are_summed_in_memory(table: tuple[int, int, list[Entry]], storage: str) -> None:
    anndata = pytest.importorskip("anndata")
    from scipy.sparse import csc_matrix, csr_matrix

    cells, genes, found = table
    axis = 0 if storage == "csr" else 1
    made = (csr_matrix, csc_matrix)[axis](compressed(found, (cells, genes)[axis], axis), (cells, genes))
    before = made.data.copy()
    adata = anndata.AnnData(made)
    np.testing.assert_array_equal(read(adata), dense_of(cells, genes, found))
    np.testing.assert_array_equal(made.data, before)  # the user's own matrix is left as it is


@given(entries())
def test_entries_in_parts_are_summed_in_10x(table: tuple[int, int, list[Entry]]) -> None:
    cells, genes, found = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            for name, values in zip(("data", "indices", "indptr"), compressed(found, cells, 0), strict=True):
                group[name] = values
            group["shape"] = (genes, cells)
            group["barcodes"] = np.array([f"c{number}" for number in range(cells)], "S9")
            group["features/id"] = group["features/name"] = np.array([f"g{n}" for n in range(genes)], "S9")
        np.testing.assert_array_equal(read(path), dense_of(cells, genes, found))


@given(
    entries(),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([" ", "  ", "\t", " \t "]),
    st.sampled_from(["", "%", "% made by hand"]),
    st.lists(st.sampled_from(["", "  ", "% note"]), max_size=3),
    st.sampled_from(["integer", "real"]),
    st.booleans(),
    st.booleans(),
)
def test_spellings_of_mtx(  # each is one way in which files differ
    table: tuple[int, int, list[Entry]],
    end: str,
    blank: str,
    comment: str,
    between: list[str],
    kind: str,
    quoted: bool,
    turned: bool,
) -> None:
    cells, genes, found = table
    size = (cells, genes) if turned else (genes, cells)
    lines = [
        f"%%MatrixMarket matrix coordinate {kind} general",
        comment,
        blank.join(map(str, (*size, len(found)))),
    ]
    for number, (cell, gene, count) in enumerate(found):
        place = (cell + 1, gene + 1) if turned else (gene + 1, cell + 1)
        value = f"{count}.0" if number % 3 == 0 else str(count)
        lines += [*(between if number == 1 else []), blank.join([*map(str, place), value])]
    mark = '"' if quoted else ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "matrix.mtx.gz").write_bytes(gzip.compress(end.join(lines).encode()))
        for file, stem, length in (("barcodes.tsv", "c", cells), ("genes.tsv", "g", genes)):
            rows = [f"{mark}{stem}{number}{mark}" for number in range(length)]
            (folder / file).write_text("\n".join(["x", "", *rows, ""] if quoted else [*rows, ""]))
        with open_cells(folder, transpose=turned) as source:
            assert source.cell_names().tolist() == [f"c{number}" for number in range(cells)]
            assert source.gene_columns()["index"].tolist() == [f"g{number}" for number in range(genes)]
        np.testing.assert_array_equal(read(folder, transpose=turned), dense_of(cells, genes, found))


@given(
    entries(),
    st.sampled_from([",", ";", "\t", " ", "   "]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "cell", '"barcode"', None]),
    st.sampled_from([[], ["# made by a tool", "#"], ["", "   "]]),
    st.booleans(),
    st.booleans(),
)
def test_spellings_of_tables(  # each is one way in which files differ
    table: tuple[int, int, list[Entry]],
    sep: str,
    end: str,
    title: str | None,
    above: list[str],
    quoted: bool,
    turned: bool,
) -> None:
    cells, genes, found = table
    dense = dense_of(cells, genes, found)
    names = ([f"g{n}" for n in range(genes)], [f"c{n}" for n in range(cells)])
    columns, rows = names[::-1] if turned else names
    mark = '"' if quoted else ""
    blanks = not sep.strip() and sep != "\t"
    first = ('""' if blanks else "") if title == "" else title  # nothing stands for itself between blanks
    header = [*([] if first is None else [first]), *(f"{mark}{name}{mark}" for name in columns)]
    values = dense.T if turned else dense
    lines = [*above, sep.join(header)]
    lines += [
        sep.join([f"{mark}{name}{mark}", *(str(value) for value in line)])
        for name, line in zip(rows, values.tolist(), strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.txt"
        path.write_bytes(end.join([*lines, ""]).encode())
        with open_cells(path, transpose=turned) as source:
            assert source.gene_columns()["index"].tolist() == names[0]
            assert source.cell_names().tolist() == names[1]
        np.testing.assert_array_equal(read(path, transpose=turned), dense)


@given(st.lists(st.integers(-5, 300), min_size=1, max_size=20), st.data())
def test_one_label_has_one_spelling(codes: list[int], data: st.DataObject) -> None:
    pd = pytest.importorskip("pandas")
    anndata = pytest.importorskip("anndata")
    gaps = data.draw(st.lists(st.booleans(), min_size=len(codes), max_size=len(codes)))
    expected = ["" if gap else str(code) for code, gap in zip(codes, gaps, strict=True)]
    held = pd.Series([None if gap else code for code, gap in zip(codes, gaps, strict=True)])
    floats = held.astype(float)
    objects = [None if gap else float(code) for code, gap in zip(codes, gaps, strict=True)]
    spellings = {
        "float": floats,
        "float32": floats.astype(np.float32),
        "nullable": floats.astype("Int32"),
        "category": floats.astype("category"),
        "text": pd.Series(expected, dtype=object),
        "padded": pd.Series([f"{text} " for text in expected], dtype=object),
        "object": pd.Series(objects, dtype=object),
    }
    obs = pd.DataFrame(spellings)
    obs.index = [f"c{number}" for number in range(len(codes))]
    with open_cells(anndata.AnnData(np.ones((len(codes), 1), np.float32), obs=obs)) as source:
        for name in spellings:
            assert label_text(source.obs_column(name)).tolist() == expected, name
    assert label_text(np.array(codes)).tolist() == [str(code) for code in codes]


@pytest.mark.parametrize("missing", [False, True])
def test_booleans_are_spelled_alike(tmp_path: Path, missing: bool) -> None:
    pd = pytest.importorskip("pandas")
    anndata = pytest.importorskip("anndata")
    values = [True, False, None if missing else True]
    obs = pd.DataFrame({"kept": pd.array(values, "boolean")}, index=list("abc"))
    adata = anndata.AnnData(np.ones((3, 1), np.float32), obs=obs)
    adata.write_h5ad(tmp_path / "x.h5ad")
    for cells in (adata, tmp_path / "x.h5ad"):
        with open_cells(cells) as source:
            expected = ["True", "False", "" if missing else "True"]
            assert label_text(source.obs_column("kept")).tolist() == expected


def test_narrow_integers_do_not_run_over() -> None:
    from biolm.io.cells import CellBlock

    block = CellBlock(0, np.array([200, 100], np.uint8), np.zeros(2, np.int32), np.array([0, 2]), 1)
    assert each_once(block).data.tolist() == [300]
    halves = CellBlock(0, np.array([0.5, 0.25], np.float16), np.zeros(2, np.int32), np.array([0, 2]), 1)
    assert each_once(halves).data.tolist() == [0.75]
