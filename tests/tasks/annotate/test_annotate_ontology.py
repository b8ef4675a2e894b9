from __future__ import annotations

import json

import pytest

from biolm import annotate
from biolm.errors import InputError
from biolm.tasks.annotate.ontology import read_ontology

OBO = """format-version: 1.2

[Term]
id: CL:1
name: lymphocyte

[Term]
id: CL:2
name: T
synonym: "T cell" EXACT []
is_a: CL:1 ! lymphocyte

[Term]
id: CL:3
name: B
is_a: CL:1 {source="x"} ! lymphocyte

[Term]
id: CL:4
name: NK
is_obsolete: true
is_a: CL:1

[Typedef]
id: part_of
"""
GRAPH = {
    "graphs": [
        {
            "nodes": [
                {"id": "http://purl.obolibrary.org/obo/CL_1", "lbl": "lymphocyte"},
                {
                    "id": "http://purl.obolibrary.org/obo/CL_2",
                    "lbl": "T",
                    "meta": {"synonyms": [{"pred": "hasExactSynonym", "val": "T cell"}]},
                },
                {"id": "http://purl.obolibrary.org/obo/CL_3", "lbl": "B"},
            ],
            "edges": [
                {"sub": "http://purl.obolibrary.org/obo/CL_2", "pred": "is_a", "obj": "obo/CL_1"},
                {"sub": "http://purl.obolibrary.org/obo/CL_3", "pred": "is_a", "obj": "obo/CL_1"},
                {"sub": "http://purl.obolibrary.org/obo/CL_3", "pred": "part_of", "obj": "obo/CL_2"},
            ],
        }
    ]
}


@pytest.mark.parametrize("kind", ["obo", "json"])
def test_both_published_forms_are_read_alike(tmp_path, kind):
    path = tmp_path / f"cl.{kind}"
    path.write_text(OBO if kind == "obo" else json.dumps(GRAPH))
    found = read_ontology(path)
    assert found.ancestors("CL:3") == ["CL:3", "CL:1"]
    assert found.find("t CELL") == "CL:2"
    rolled = found.roll_up(["T cell", "B", "stranger"], ["lymphocyte"])
    assert rolled == {"T cell": "lymphocyte", "B": "lymphocyte", "stranger": "stranger"}


def test_the_nearest_ancestor_counts_and_circles_end(tmp_path):
    path = tmp_path / "types.tsv"
    path.write_text("parent\tchild\nlymphoid\tT\nT\tCD4\nCD4\tlymphoid\n")
    assert read_ontology(path).roll_up(["CD4"], ["lymphoid", "T"]) == {"CD4": "T"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cl.owl", "", "none of the ontology files"),
        ("cl.obo", "[Term]\nname: x\n", "no terms"),
        ("cl.obo", "x\n[Term]\nname: x\n", "without an id"),
        ("cl.json", "{", "not a valid ontology"),
        ("cl.json", "[]", "not a valid ontology"),
        ("cl.tsv", "a\tb\nc\td\n", "child and parent"),
        ("cl.tsv", "", "not a valid ontology"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_ontology(tmp_path / name)


def test_cells_are_named_coarsely(kinds, query, tmp_path):
    path = tmp_path / "cl.obo"
    path.write_text(OBO)
    fitted = annotate.fit(kinds, label="kind", method="knn")
    options = {"ontology": str(path), "copy": True}
    named = annotate.predict(query, fitted, coarse=("lymphocyte",), **options)
    coarse = named.obs["biolm_kind_coarse"].astype(str)
    assert set(coarse) <= {"lymphocyte", "NK", "unknown"}
    fine = named.obs["biolm_kind"].astype(str)
    assert (coarse[fine == "NK"] == "NK").all()
    assert (coarse[fine.isin(["B", "T"])] == "lymphocyte").all()
    with pytest.raises(InputError, match="no term 'neuron'"):
        annotate.predict(query, fitted, coarse=("neuron",), **options)
