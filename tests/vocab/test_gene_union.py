"""The genes of several files become one list, and none falls into another's column."""

from __future__ import annotations

import numpy as np
import pytest

from biolm.errors import GeneMatchError, InputError
from biolm.vocab.union import GeneUnion, naming_column

IDS = [f"ENSG{number:011d}" for number in range(1, 31)]


def union_of(*tables, **options):
    union = GeneUnion(**options)
    for table in tables:
        union.add({name: np.array(column) for name, column in table.items()})
    return union


def test_one_table_stays_as_it_is_with_repeated_names():
    table = {"index": ["A", "A", ""], "note": ["x", "y", "z"]}
    union = union_of(table, table)
    assert [target.tolist() for target in union.targets()] == [[0, 1, 2]] * 2
    assert {name: column.tolist() for name, column in union.table().items()} == table


def test_genes_without_an_id_keep_the_name_of_their_row():
    first = {"index": ["a", "b", "novel"], "id": [IDS[0], IDS[1], ""]}
    second = {"index": ["c", "other", "novel", "b"], "id": [IDS[2], "", "", f"{IDS[1]}.4"]}
    union = union_of(first, second)
    assert union.table()["index"].tolist() == [IDS[0], IDS[1], "novel", IDS[2], "other"]
    assert [target.tolist() for target in union.targets()] == [[0, 1, 2], [3, 4, 2, 1]]


def test_a_later_file_comes_in_by_symbol():
    union = union_of({"index": ["ENSG00000167286", "ENSG00000156738"]}, {"index": ["MS4A1", "CD3D", "XYZ"]})
    assert [target.tolist() for target in union.targets()] == [[0, 1], [1, 0, 2]]
    assert union.table()["index"].tolist()[2] == "XYZ"


def test_new_symbols_become_ids_in_a_list_of_ids():
    # CD3D and an alias of MS4A1 are there already; CD8A has one id, XYZ none.
    union = union_of(
        {"index": ["ENSG00000167286", "ENSG00000156738"]}, {"index": ["CD8A", "CD3D", "XYZ", "LEU-16"]}
    )
    assert union.names() == ["ENSG00000167286", "ENSG00000156738", "ENSG00000153563", "XYZ"]
    assert [target.tolist() for target in union.targets()] == [[0, 1], [2, 0, 3, 1]]
    union.add({"index": np.array(["ENSG00000153563.19"])})
    assert union.targets()[2].tolist() == [2]
    # An old symbol whose gene the same file names by id stays a gene of its own.
    both = union_of({"index": ["ENSG00000167286"]}, {"index": ["CD3D", "LEU-16", "ENSG00000156738"]})
    assert both.names() == ["ENSG00000167286", "LEU-16", "ENSG00000156738"]
    human = ["HLA-A", "HLA-B", "LINC00115"]
    symbols = union_of({"index": [*human, "MS4A1", ""]}, {"index": [*human, "CD8A", "LEU-16"]})
    assert symbols.names() == [*human, "MS4A1", "CD8A"]


def test_files_that_share_too_little_are_refused():
    with pytest.raises(GeneMatchError):
        union_of({"index": IDS[:10]}, {"index": [*IDS[20:], IDS[0]]}, minimum=0.5)
    mouse = [name.replace("ENSG", "ENSMUSG") for name in IDS]
    with pytest.raises(GeneMatchError):
        union_of({"index": IDS}, {"index": mouse})


def test_the_column_that_names_genes():
    columns = {"index": np.array(["a", "b"]), "id": np.array([IDS[0], ""])}
    assert (naming_column(columns), naming_column({"index": columns["index"]})) == ("id", "index")
    assert naming_column(columns, "index") == "index"
    with pytest.raises(InputError, match="no gene column 'x'"):
        naming_column(columns, "x")


def test_a_table_without_genes() -> None:
    union = GeneUnion()
    union.add({"index": np.array([], np.str_)})
    assert union.names() == []
    assert union.targets()[0].tolist() == []
