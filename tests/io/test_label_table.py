from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from biolm.errors import InputError
from biolm.io.label_table import read_label_table
from biolm.tasks.annotate.gene_labels import read_gene_table
from biolm.training.data import label_files


def test_rows_are_found_by_name_or_taken_in_order(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,kind\nb,2\na,1\n")
    assert read_label_table(path, ["a", "b", "c"]).column("kind").tolist() == ["1", "2", ""]
    path.write_text("id,kind\na,1\na,2\n")
    assert read_label_table(path, ["a", "a"]).column("kind").tolist() == ["1", "2"]
    with pytest.raises(InputError, match="'a' twice in two ways"):
        read_label_table(path, ["a", "b"])


def test_strings_of_labels_are_read_as_fasta(tmp_path):
    path = tmp_path / "labels.fasta.gz"
    path.write_bytes(gzip.compress(b">a first\nHH\nE\n>b\nEE\n"))
    assert read_label_table(path, ["b", "a"]).column("labels").tolist() == ["EE", "HHE"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("id\tx\nz\t1\n", "names none"), ("id\n", "holds no labels"), ("", "holds no labels")],
)
def test_useless_tables(tmp_path, text, message):
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_label_table(path, ["a"])
    with pytest.raises(InputError, match="cannot be read"):
        read_label_table(tmp_path / "none.tsv", ["a"])


def test_a_column_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text("id\tkind\na\t1\n")
    with pytest.raises(InputError, match="no column 'knd'; it has kind"):
        read_label_table(path, ["a"]).column("knd")


def test_whole_numbers_read_alike_with_and_without_a_decimal_point(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,kind,score\na,0.0,0.5\nb,,1.0\nc,12.0,2\n")
    found = read_label_table(path, ["a", "b", "c"])
    assert found.column("kind").tolist() == ["0", "", "12"]
    assert found.column("score").tolist() == ["0.5", "1.0", "2"]


@pytest.fixture(scope="module")
def awkward(shared: Path) -> Path:
    return shared / "data/awkward/sequences"


def test_tables_as_people_have_them(awkward: Path) -> None:
    from biolm.io.sequences import open_sequences

    with open_sequences(awkward / "an.fasta") as source:
        names = next(source.blocks()).names
    wanted = ["greasy" if row % 2 == 0 else "basic" for row in range(len(names))]
    for name in ("an.tsv", "an.csv", "an_crlf.tsv", "an_dup.tsv"):
        assert read_label_table(awkward / name, names).column("kind").tolist() == wanted
    missing = read_label_table(awkward / "an_missing.tsv", names).column("kind").tolist()
    assert missing == [*wanted[:39], *[""] * (len(names) - 39)]
    with pytest.raises(InputError, match=r"labels 'sp\|P00000\|X_0' twice in two ways"):
        read_label_table(awkward / "an_conflict.tsv", names)
    with pytest.raises(InputError, match=r"names none of the .* such as 'sp\|P00000\|X_0', not 'P00000'"):
        read_label_table(awkward / "an_acc.tsv", names)


@pytest.mark.parametrize("content", [b"gene\tlabel\nA\t" + b"x" * 200_000, b"gene,label\n\xff\xfe,b\n"])
def test_a_table_of_genes_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    """Of annotating genes and of training alike: both read it by one function."""
    path = tmp_path / "genes.tsv"
    path.write_bytes(content)
    for read in (lambda: read_gene_table(path, None), lambda: label_files._read_table(path, "label")):
        with pytest.raises(InputError, match=r"genes\.tsv"):
            read()
