"""Files that are damaged, foreign or hostile: one sentence with the place, or read all the same."""

from __future__ import annotations

import gzip
import json

import pytest

from biolm.errors import InputError, OutputError
from biolm.io.text import ReadOptions, ReadReport, read_documents, write_documents

GOOD = "1|t|Aspirin\n1|a|It causes ulcers.\n1\t0\t7\tAspirin\tChemical\tD001241\n"
ENTITY = '<?xml version="1.0"?><!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/hostname">]><collection>&x;</collection>'
LAUGHS = (
    '<!DOCTYPE c [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><collection><document>&b;</document></collection>'
)
UNKNOWN = (
    '<!DOCTYPE collection SYSTEM "BioC.dtd"><collection><document><id>&nope;</id></document></collection>'
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", "<collection>\n<document>\n<oops></document></collection>", "line 3 is broken XML"),
        ("a.xml", "<collection>\n<document><id>1</id>", "line 2 is broken XML"),
        ("a.xml", ENTITY, "declares or uses the entity 'x'"),
        ("a.xml", LAUGHS, "declares or uses the entity"),
        ("a.xml", UNKNOWN, "declares or uses the entity 'nope'"),
        ("a.json", '{"documents": [', "is not valid JSON"),
        ("a.json", '{"other": 1}', "holds no documents"),
        ("a.json", '{"documents": [{"id": "7", "passages": [{"text": "x"}]}]}', "document 7 is not as BioC"),
        ("a.jsonl", '{"text": "x"}\n{"text": ', "line 2 is not valid JSON"),
        ("a.jsonl", '{"body": "x"}\n', "line 1 has neither"),
        ("a.jsonl", '{"text": "abc", "mentions": [{"spans": [[0, 9]]}]}\n', "place 0 9 lies outside"),
        ("a.tsv", "Aspirin\tB-X\nis\n", "line 2 has 1 columns, not 2"),
        ("a.tsv", "Aspirin\tB-X\nis\tno\tO\n", "line 2 has 3 columns, not 2; is there a tab inside a word"),
        ("a.tsv", "Aspirin\tB-X\nis\tOUT\n", "label 'OUT' is of no scheme"),
        ("a.tsv", "a\tI-X\n\na\tO\nb\tB-X\n\n", "follow none"),
        ("a.pubtator", GOOD.replace("0\t7", "1\t8"), "line 3: mention 'Aspirin' is said to lie at 1 8"),
        ("a.pubtator", GOOD.replace("0\t7", "0\t700"), "there is no such place"),
        ("a.pubtator", GOOD.replace("0\t7", "0\tx"), "no whole numbers"),
        ("a.pubtator", "2\t0\t7\tAspirin\tChemical\n", "whose title"),
        ("a.pubtator", "1|t|\n1|a|\n", "document 1 is empty"),
        ("a.pubtator", f"{GOOD}\n{GOOD}", "document 1 comes twice"),
        ("a.nbib", "PMID- 1\nTI  - x\nnonsense\n", "line 3 is neither a tag"),
        ("a.nbib", "TI  - x\n", "has no PMID"),
        ("a.txt", b"caf\xe9", "is not UTF-8"),
        ("a.tsv.gz", gzip.compress(b"Aspirin\tB-X\n" * 900, mtime=0)[:-9], "cut off or damaged"),
    ],
)  # fmt: skip
def test_one_sentence_that_names_the_place(write, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        list(read_documents(write(name, content), ReadOptions(format="pubtator" if "pub" in name else None)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_an_external_dtd_is_never_fetched(write, monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    document = "<document><id>1</id><passage><offset>0</offset><text>x</text></passage></document>"
    path = write(
        "a.xml",
        f'<!DOCTYPE collection SYSTEM "http://127.0.0.1:9/BioC.dtd"><collection>{document}</collection>',
    )
    [found] = read_documents(path, ReadOptions(format="bioc-xml"))
    assert found.text == "x"


def test_crlf_and_a_byte_order_mark_are_accepted(write):
    path = write("a.pubtator", b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    [document] = read_documents(path)
    assert document.text == "Aspirin\nIt causes ulcers."
    path = write("a.tsv", b"\xef\xbb\xbfAspirin\tB-X\r\nacts\tO\r\n\r\n")
    [document] = read_documents(path)
    assert document.covered(document.mentions[0]) == "Aspirin"


def test_brat_offsets_that_count_crlf_as_two(write):
    write("a.txt", b"Title\r\nAspirin acts.\r\n")
    [document] = read_documents(write("a.ann", "T1\tChemical 7 14\tAspirin\n"))
    assert document.covered(document.mentions[0]) == "Aspirin"


def test_no_abstract_is_no_failure(write):
    [document] = read_documents(write("a.nbib", "PMID- 1\nTI  - Only a title\n"))
    assert (document.title, document.body) == ("Only a title", "")


def test_mismatches_are_skipped_or_kept_and_counted(write):
    path = write("a.pubtator", GOOD + "1\t8\t10\tulcers\tDisease\t-1\n1\t90\t96\tulcers\tDisease\t-1\n")
    report = ReadReport()
    [document] = read_documents(path, ReadOptions(on_mismatch="skip"), report=report)
    assert len(document.mentions) == 1
    assert report.counts["mentions that do not fit, left out"] == 2
    report = ReadReport()
    [document] = read_documents(path, ReadOptions(on_mismatch="keep"), report=report)
    assert [document.covered(each) for each in document.mentions] == ["Aspirin", "It"]
    assert report.counts["mentions that do not fit, kept"] == 1
    assert report.counts["mentions that do not fit, left out"] == 1


def test_brat_without_its_text(write):
    with pytest.raises(InputError, match=r"no lone\.txt beside it"):
        list(read_documents(write("lone.ann", "T1\tX 0 1\ta\n")))


def test_an_existing_output_is_not_replaced(write, tmp_path):
    documents = list(read_documents(write("a.pubtator", GOOD)))
    write_documents(documents, tmp_path / "b.jsonl")
    with pytest.raises(OutputError, match="exists already"):
        write_documents(documents, tmp_path / "b.jsonl")


def test_control_characters_that_xml_cannot_hold_are_counted(write, tmp_path):
    path = write("a.jsonl", json.dumps({"name": "1", "text": "a\x01b"}) + "\n")
    losses = write_documents(read_documents(path), tmp_path / "b.xml")
    assert losses.counts["control character"] == 1
    [document] = read_documents(tmp_path / "b.xml", ReadOptions(format="bioc-xml"))
    assert document.text == "a\ufffdb"
