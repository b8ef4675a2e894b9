"""Documents and questions in every format, and tables of terms."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cases import Case

from biolm.io.text.document import Document, Mention, Passage, Relation
from biolm.io.text.formats import ReadOptions, read_documents, write_documents
from biolm.io.text.questions import read_pubmedqa, read_questions
from biolm.io.text.terms import read_terms

__all__ = ["CASES"]

TEXT = "Aspirin\ncauses gastric ulcers in patients."
MEDLINE = """<?xml version="1.0"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle//EN" "https://dtd.nlm.nih.gov/x.dtd">
<PubmedArticleSet>{articles}</PubmedArticleSet>
"""
ARTICLE = """<PubmedArticle><MedlineCitation><PMID Version="1">{n}</PMID><Article>
<Journal><Title>J</Title><JournalIssue><PubDate><Year>2001</Year></PubDate></JournalIssue></Journal>
<ArticleTitle>Aspirin {n}</ArticleTitle><Abstract>
<AbstractText Label="AIM">Causes <i>ulcers</i>.</AbstractText></Abstract>
<Language>eng</Language></Article><MeshHeadingList><MeshHeading>
<DescriptorName UI="D1" MajorTopicYN="Y">Ulcer</DescriptorName></MeshHeading></MeshHeadingList>
</MedlineCitation></PubmedArticle>
"""
NBIB = "".join(
    f"PMID- {n}\nTI  - Aspirin\nAB  - AIMS: ulcers.\n      More.\nDP  - 2001 Jan\n\n" for n in range(1, 6)
)
SQUAD = {
    "version": "2.0",
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": TEXT,
                    "qas": [
                        {
                            "id": f"q{n}",
                            "question": "What?",
                            "answers": [{"text": "ulcers", "answer_start": TEXT.index("ulcers")}],
                            "is_impossible": False,
                        }
                        for n in range(4)
                    ],
                }
            ],
        }
    ],
}
BIOASQ = {
    "questions": [
        {
            "id": "a",
            "type": "factoid",
            "body": "?",
            "snippets": [{"text": "x"}],
            "exact_answer": [["x", "y"]],
        },
        {
            "id": "b",
            "type": "list",
            "body": "?",
            "snippets": [],
            "exact_answer": [["x"], ["z"]],
            "ideal_answer": ["i"],
        },
        {"id": "c", "type": "yesno", "body": "?", "snippets": [{"text": "y"}], "exact_answer": "yes"},
    ]
}
PUBMEDQA = {
    str(n): {
        "QUESTION": "?",
        "CONTEXTS": ["a", "b"],
        "final_decision": "yes",
        "LONG_ANSWER": "l",
        "MESHES": ["m"],
    }
    for n in range(4)
}


def documents() -> list[Document]:
    start = TEXT.index("ulcers")
    return [
        Document(
            str(n),
            TEXT,
            (Passage(0, 7, "title"), Passage(8, len(TEXT), "abstract")),
            mentions=(
                Mention(((0, 7),), "Chemical", "MESH:D001241", "T1"),
                Mention(((start, start + 6),), "Disease", "MESH:D014456", "T2"),
            ),
            relations=(Relation("CID", (("Chemical", "MESH:D001241"), ("Disease", "MESH:D014456"))),)
            if n == 1
            else (),
        )
        for n in range(1, 5)
    ]


def written(path: Path, kind: str) -> None:
    write_documents([replace(each, relations=()) for each in documents()], path, format=kind)


def read(path: Path, kind: str) -> Any:
    return [repr(each) for each in read_documents(path, ReadOptions(format=kind))]


def write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")


def format_case(kind: str, file: str) -> Case:
    return Case(file=file, make=partial(written, kind=kind), read=partial(read, kind=kind))


def content_case(file: str, content: Any, reader: Any) -> Case:
    text = content if isinstance(content, str) else json.dumps(content)
    return Case(file=file, make=partial(write, content=text), read=reader)


ARTICLES = MEDLINE.format(articles="".join(ARTICLE.format(n=n) for n in range(1, 5)))

CASES = {
    "BioC XML": format_case("bioc-xml", "x.xml"),
    "BioC JSON": format_case("bioc-json", "x.json"),
    "PubTator": format_case("pubtator", "x.pubtator"),
    "BRAT": format_case("brat", "x"),
    "CoNLL": format_case("conll", "x.conll"),
    "JSONL": format_case("jsonl", "x.jsonl"),
    "MEDLINE": content_case("x.xml", ARTICLES, partial(read, kind="medline")),
    "nbib": content_case("x.nbib", NBIB, partial(read, kind="nbib")),
    "plain text": content_case("x.txt", TEXT, partial(read, kind="text")),
    "SQuAD": content_case("x.json", SQUAD, lambda path: repr(read_questions(path))),
    "BioASQ": content_case("x.json", BIOASQ, lambda path: repr(read_questions(path))),
    "PubMedQA": content_case("x.json", PUBMEDQA, lambda path: repr(read_pubmedqa(path))),
    "terms": content_case(
        "x.tsv", "".join(f"MESH:D{n}\tname {n}\n" for n in range(9)), lambda path: list(read_terms(path))
    ),
}
