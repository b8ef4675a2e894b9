"""Traps of reading, by their numbers in the specification (B.2)."""

from __future__ import annotations

import json
import shutil

import pytest

from biolm.errors import InputError
from biolm.io.text import ReadOptions, ReadReport, read_documents, write_documents
from biolm.io.text.document import normalise_ids, split_ids
from biolm.io.text.tags import decode_tags, encode_tags, recognise_scheme

TITLE, BODY = "Effect of TNF-α in 𝛽-cells", "IL-1β and TNF-α act. Then 🧬 loops"


def units(text):
    """How many units each code point takes."""
    return {
        "UTF-8 bytes": [len(letter.encode()) for letter in text],
        "UTF-16 units": [len(letter.encode("utf-16-le")) // 2 for letter in text],
        "code points": [1] * len(text),
    }


@pytest.mark.parametrize("unit", ["UTF-8 bytes", "UTF-16 units", "code points"])
def test_trap_1_the_unit_of_offsets_is_found_over_the_whole_file(write, unit):
    text = f"{TITLE}\n{BODY}"
    width = units(text)[unit]
    rows = []
    for word in ("TNF-α", "IL-1β", "act", "loops"):
        start = text.index(word)
        low, high = sum(width[:start]), sum(width[: start + len(word)])
        rows.append(f"1\t{low}\t{high}\t{word}\tGene\t7124\n")
    path = write("a.pubtator", f"1|t|{TITLE}\n1|a|{BODY}\n{''.join(rows)}")
    report = ReadReport()
    [document] = read_documents(path, report=report)
    assert report.unit == unit
    assert [document.covered(mention) for mention in document.mentions] == ["TNF-α", "IL-1β", "act", "loops"]


def test_trap_1_in_bioc_passage_offsets_are_of_the_same_unit(data_text, tmp_path):
    from biolm.io.text import Document, Mention, Passage

    text = f"{TITLE}\n{BODY}"
    start = text.index("act")
    passages = (Passage(0, len(TITLE), "title"), Passage(len(TITLE) + 1, len(text), "abstract"))
    document = Document("1", text, passages, mentions=(Mention(((start, start + 3),), "X"),))
    write_documents([document], tmp_path / "a.json")
    stored = json.loads((tmp_path / "a.json").read_text())
    second = stored["documents"][0]["passages"][1]
    second["offset"] = len(f"{TITLE}\n".encode())
    [place] = second["annotations"][0]["locations"]
    place["offset"] = len(text[:start].encode())
    (tmp_path / "b.json").write_text(json.dumps(stored))
    report = ReadReport()
    [found] = read_documents(tmp_path / "b.json", report=report)
    assert report.unit == "UTF-8 bytes"
    assert found.text == text
    assert found.covered(found.mentions[0]) == "act"


def test_trap_2_the_documents_own_text_is_kept(write):
    path = write("a.pubtator", "1|t|TNF-α binds\n1|a|it.\n1\t0\t5\tTNF-a\tGene\t7124\n")
    report = ReadReport()
    [document] = read_documents(path, report=report)
    assert document.covered(document.mentions[0]) == "TNF-α"
    assert any("spelled otherwise" in what for what in report.counts)


def test_trap_3_offsets_in_the_passage_and_passages_that_touch(write, data_text, tmp_path):
    [wanted] = read_documents(data_text / "annotation_formats/bioc_json/tutorial-example.json")
    stored = json.loads((data_text / "annotation_formats/bioc_json/tutorial-example.json").read_text())
    for passage in stored["documents"][0]["passages"]:
        for annotation in passage["annotations"]:
            for place in annotation["locations"]:
                place["offset"] -= passage["offset"]
    report = ReadReport()
    [found] = read_documents(write("relative.json", json.dumps(stored)), report=report)
    assert report.unit == "places in the passage"
    assert [m.spans for m in found.mentions] == [m.spans for m in wanted.mentions]
    touching = "1|t|Aspirin.\n1|a|It causes ulcers.\n1\t0\t7\tAspirin\tC\t-1\n1\t18\t24\tulcers\tD\t-1\n"
    path = write("touching.pubtator", touching.replace("18\t24", "18\t24"))
    report = ReadReport()
    [found] = read_documents(path, report=report)
    assert "touch" in report.unit
    assert [found.covered(m) for m in found.mentions] == ["Aspirin", "ulcers"]


def test_trap_3_annotations_inside_sentences(write):
    text = "A gene. BRCA1 is one."
    sentence = {"offset": 8, "text": "BRCA1 is one.", "infons": {}, "relations": []}
    sentence["annotations"] = [
        {"id": "1", "infons": {"type": "Gene"}, "text": "BRCA1", "locations": [{"offset": 8, "length": 5}]}
    ]
    first = {"offset": 0, "text": "A gene.", "annotations": [], "infons": {}, "relations": []}
    passage = {"offset": 0, "infons": {}, "sentences": [first, sentence], "annotations": [], "relations": []}
    path = write("a.json", json.dumps({"documents": [{"id": "1", "infons": {}, "passages": [passage]}]}))
    [document] = read_documents(path)
    assert document.text.replace("\n", " ") == text
    assert document.covered(document.mentions[0]) == "BRCA1"


def test_trap_4_discontinuous_mentions_keep_their_pieces(data_text, tmp_path):
    [document] = read_documents(data_text / "annotation_formats/bioc_xml/elliptic-coordination.xml")
    first, second = document.mentions[:2]
    assert first.spans == ((15, 21), (34, 41))
    assert second.spans == ((26, 41),)
    for ending in (".xml", ".json", ".jsonl"):
        write_documents([document], tmp_path / f"a{ending}")
        [again] = read_documents(
            tmp_path / f"a{ending}", ReadOptions(format={".xml": "bioc-xml"}.get(ending))
        )
        assert again.mentions[0].spans == first.spans


def test_trap_5_ids(data_text):
    assert normalise_ids("-1") == ""
    assert normalise_ids("D003924 |D006973") == "MESH:D003924|MESH:D006973"
    assert normalise_ids("MESH:D003924") == "MESH:D003924"
    assert split_ids(normalise_ids("C536830+D001943")) == ("MESH:C536830", "MESH:D001943")
    gold, answer = (
        next(read_documents(data_text / "bc5cdr_scorer" / f"CDR_sample.{name}.PubTator"))
        for name in ("gold", "test.DNER")
    )
    known = {mention.ids for mention in gold.mentions}
    assert {mention.ids for mention in answer.mentions} <= known
    documents = list(read_documents(data_text / "bc5cdr_test/CDR_TestSet.PubTator.txt"))
    assert sum(bool(mention.note) for document in documents for mention in document.mentions) == 57
    files = sorted((data_text / "ncbi_disease_pubtator").glob("NCBI*"))
    ids = [m.ids for document in read_documents(files) for m in document.mentions]
    assert not any(" " in each for each in ids)
    assert any("|" in each for each in ids)
    assert any("+" in each for each in ids)


def test_trap_6_one_span_with_two_types_and_a_name_that_comes_twice(write, tmp_path):
    text = "1|t|Aspirin\n1|a|It acts.\n1\t0\t7\tAspirin\tChemical\tD001241\n1\t0\t7\tAspirin\tDrug\t-1\n"
    path = write("a.pubtator", text)
    [document] = read_documents(path)
    assert [m.kind for m in document.mentions] == ["Chemical", "Drug"]
    write_documents([document], tmp_path / "b.xml")
    [again] = read_documents(tmp_path / "b.xml")
    assert [m.kind for m in again.mentions] == ["Chemical", "Drug"]
    twice = write("twice.pubtator", f"{text}\n{text}")
    with pytest.raises(InputError, match="document 1 comes twice"):
        list(read_documents(twice))
    assert len(list(read_documents(twice, ReadOptions(on_duplicate="skip")))) == 1
    kept = list(read_documents(twice, ReadOptions(on_duplicate="keep")))
    assert [each.name for each in kept] == ["1", "1#2"]


def test_trap_7_neighbouring_entities_stay_two():
    for scheme in ("IOB2", "IOB1", "BIOES", "BILOU"):
        entities = [(0, 2, "X"), (2, 3, "X")]
        assert decode_tags(encode_tags(entities, 4, scheme), scheme) == entities


def test_trap_8_schemes_are_told_over_the_whole_file():
    assert recognise_scheme([["I-X", "I-X", "O"], ["I-X", "B-X"]]) == "IOB1"
    assert recognise_scheme([["B-X", "I-X", "O"], ["B-X", "B-X"]]) == "IOB2"
    assert recognise_scheme([["S-X", "B-X", "E-X"]]) == "BIOES"
    assert recognise_scheme([["U-X", "B-X", "L-X"]]) == "BILOU"
    assert decode_tags(["I-X", "I-X"], "IOB2") == []
    with pytest.raises(InputError, match="follow none"):
        recognise_scheme([["B-X", "I-X", "O", "I-Y", "O", "B-X"], ["I-X"]])


def test_trap_15_inline_markup_is_kept(data_text):
    [document] = read_documents(data_text / "medline_markup/pubmed4.xml")
    lengths = [passage.end - passage.start for passage in document.passages[1:]]
    assert lengths == [331, 559, 689, 132]
    assert len({passage.kind for passage in document.passages}) == 5


def test_trap_15_deletions_and_versions(write):
    def citation(pmid, version, title):
        return (
            f'<PubmedArticle><MedlineCitation><PMID Version="{version}">{pmid}</PMID><Article>'
            f"<ArticleTitle>{title}</ArticleTitle></Article></MedlineCitation></PubmedArticle>"
        )

    body = citation(1, 1, "old") + citation(2, 1, "gone") + citation(1, 2, "new")
    path = write(
        "a.xml",
        f"<PubmedArticleSet>{body}<DeleteCitation><PMID>2</PMID></DeleteCitation></PubmedArticleSet>",
    )
    report = ReadReport()
    found = list(read_documents(path, report=report))
    assert [(each.name, each.text) for each in found] == [("1", "new")]
    assert report.counts["deleted citations, left out"] == 1
    assert report.counts["citations replaced by a later version"] == 1
    assert report.counts["citations without an abstract"] == 1


def test_trap_15_continuations_of_nbib_that_read_like_tags(write):
    text = "PMID- 5\nTI  - A title\nAB  - Cells were kept. ABC\n      TI  - 12 was the strain.\n"
    [document] = read_documents(write("a.nbib", text))
    assert document.title == "A title"
    assert document.body == "Cells were kept. ABC TI  - 12 was the strain."


def test_whole_bioc_and_pubtator_of_one_corpus_agree(data_text):
    xml = {d.name: d for d in read_documents(data_text / "bc5cdr_test/CDR_TestSet.BioC.xml")}
    flat = list(read_documents(data_text / "bc5cdr_test/CDR_TestSet.PubTator.txt"))
    assert len(flat) == len(xml) == 500
    assert all(document.text == xml[document.name].text for document in flat)
    assert sum(len(d.relations) for d in flat) == sum(len(d.relations) for d in xml.values()) == 1066
    assert all(set(d.relations) == set(xml[d.name].relations) for d in flat)
    assert sum(len(d.mentions) for d in flat) == 9809
    assert sum(len(d.mentions) for d in xml.values()) == 9928


def test_text_files_of_a_folder(data_text, tmp_path):
    shutil.copy(data_text / "annotation_formats/txt/elliptic-coordination.txt", tmp_path / "a.txt")
    [document] = read_documents(tmp_path)
    assert document.name == "a"
    assert len(document.text) == 560
