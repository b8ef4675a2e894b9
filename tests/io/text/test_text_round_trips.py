"""What is written is read back equal, in every format, as far as the format holds it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.io.text import Document, Mention, Passage, ReadOptions, Relation, read_documents, write_documents

ENDINGS = {"bioc-xml": ".xml", "bioc-json": ".json", "jsonl": ".jsonl", "pubtator": ".pubtator", "brat": ""}
FILES = [
    "annotation_formats/bioc_xml/elliptic-coordination.xml",
    "annotation_formats/bioc_json/tutorial-example.json",
    "annotation_formats/pubtator/elliptic-coordination.txt",
    "bc5cdr_scorer/CDR_sample.gold.PubTator",
    "bc5cdr_scorer/CDR_sample.test.CID.PubTator",
    "bc5cdr_test/CDR_TestSet.BioC.xml",
    "bc5cdr_test/CDR_TestSet.PubTator.txt",
    "bc5cdr_relations/CDR_TrainingSet.PubTator.txt.gz",
    "ncbi_disease_pubtator/NCBIdevelopset_corpus.txt",
    "ncbi_disease_pubtator/NCBItestset_corpus.txt",
    "medline_markup/pubmed4.xml",
    "nbib/pubmed_result2.nbib",
]
WHOLE = ("bioc-xml", "bioc-json", "jsonl")


def round_trip(documents, folder, kind, ending=None):
    path = folder / f"out{ENDINGS[kind] if ending is None else ending}"
    losses = write_documents(documents, path, format=kind, overwrite=True)
    options = ReadOptions(format=kind, on_empty="keep")
    return list(read_documents(path, options)), losses


def plain(document):
    """Mentions in the order of the text and without names, no metadata, whose types XML cannot tell."""
    mentions = sorted(
        (replace(mention, name="") for mention in document.mentions), key=lambda each: each.spans
    )
    mentions = tuple(mentions)
    return replace(document, mentions=mentions, metadata={})


def held(document, kind):
    """What a format holds of a document."""
    document = plain(document)
    if kind == "pubtator":
        mentions = tuple(mention for mention in document.mentions if mention.whole)
        return replace(document, mentions=mentions, text=document.text.replace("\n", " "), passages=())
    if kind == "brat":
        return replace(document, passages=(), relations=())
    return document


@pytest.mark.parametrize("name", FILES)
def test_shared_documents_keep_everything(data_text, tmp_path, name):
    documents = list(read_documents(data_text / name))[:40]
    for kind in ENDINGS:
        found, losses = round_trip(documents, tmp_path, kind)
        found.sort(key=lambda each: [d.name for d in documents].index(each.name))
        if kind in WHOLE:
            assert not losses
        wanted = [held(document, kind) for document in documents]
        assert [held(document, kind) for document in found] == wanted, kind


@pytest.mark.parametrize("part", ["ncbi_disease/dev.tsv", "bc5cdr_iob/test.tsv"])
def test_token_files_keep_words_and_mentions(data_text, tmp_path, part):
    documents = list(read_documents(data_text / part))[:500]
    for scheme in ("IOB2", "IOB1", "BIOES", "BILOU"):
        from biolm.io.text.conll import read_conll, write_conll

        path = tmp_path / f"{scheme}.conll"
        with path.open("w", encoding="utf-8") as file:
            assert not write_conll(documents, file, scheme=scheme)
        assert list(read_conll(path)) == documents


def test_brat_of_the_shared_example(data_text, tmp_path):
    for source, name in (("brat", "elliptic-coordination.ann"), ("txt", "elliptic-coordination.txt")):
        shutil.copy(data_text / "annotation_formats" / source / name, tmp_path / name)
    [document] = read_documents(tmp_path / "elliptic-coordination.ann")
    [other] = read_documents(data_text / "annotation_formats/bioc_xml/elliptic-coordination.xml")
    assert [(m.spans, m.kind, m.ids) for m in document.mentions] == [
        (m.spans, m.kind, m.ids) for m in other.mentions
    ]
    assert document.mentions[0].spans == ((15, 21), (34, 41))
    assert document.covered(document.mentions[0]) == "Breast Cancers"


LETTERS = st.text(
    st.sampled_from("ab αβ\U0001f9ec\u0301é\u200b\u00ad[]#<&>\"'|;:")
    | st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]),
    min_size=1,
    max_size=40,
)


@st.composite
def documents(draw):
    """Title and abstract with mentions that may nest, overlap and be discontinuous."""
    title = draw(LETTERS).replace("\n", " ")
    body = draw(LETTERS).replace("\n", " ")
    text = f"{title}\n{body}"
    mentions = []
    for _ in range(draw(st.integers(0, 4))):
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=4, unique=True)))
        cuts = cuts[: len(cuts) // 2 * 2]
        spans = tuple(zip(cuts[::2], cuts[1::2], strict=True))
        if all(text[a:b].strip() for a, b in spans):
            score = draw(st.none() | st.floats(0, 1))
            mentions.append(
                Mention(spans, draw(st.sampled_from(["Gene", "Disease"])), "MESH:D000001", "", score)
            )
    passages = (Passage(0, len(title), "title"), Passage(len(title) + 1, len(text), "abstract"))
    relations = (Relation("CID", (("Chemical", "MESH:D000001"), ("Disease", "MESH:D000002"))),)
    return Document("77", text, passages, mentions=tuple(mentions), relations=relations)


@settings(max_examples=40)
@given(document=documents())
def test_any_document_survives(tmp_path_factory, document):
    folder = tmp_path_factory.mktemp("trip")
    for kind in ENDINGS:
        found, losses = round_trip([document], folder, kind)
        if kind in WHOLE:
            assert not losses
        assert [held(each, kind) for each in found] == [held(document, kind)], kind
        split = sum(not mention.whole for mention in document.mentions)
        if kind == "pubtator":
            assert losses.counts["discontinuous mention"] == split


def test_writing_is_streamed_and_gzipped(data_text, tmp_path):
    documents = list(read_documents(data_text / FILES[3]))
    write_documents(iter(documents), tmp_path / "a.jsonl.gz")
    assert (tmp_path / "a.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert list(read_documents(tmp_path / "a.jsonl.gz")) == documents


def test_a_format_that_cannot_hold_something_names_it(data_text, tmp_path):
    documents = list(read_documents(data_text / FILES[0]))
    losses = write_documents(documents, tmp_path / "a.conll")
    assert losses.counts["discontinuous mention"] == 2
    assert "2 discontinuous mentions (first in document 30128536)" in str(losses)
    assert losses.counts["identifier"] == 9
