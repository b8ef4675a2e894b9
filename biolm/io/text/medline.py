"""MEDLINE and PubMed XML: titles and abstracts with their inline markup, sections in order.

A file is gone through twice: first for deletions and versions, so that a citation that a later part of the
file deletes or replaces is not given out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from biolm.io.text.document import Document, joined
from biolm.io.text.raw import ReadReport
from biolm.io.text.xml_records import texts_of, xml_records

__all__ = ["read_medline"]

_RECORDS = {"PubmedArticle", "MedlineCitation", "DeleteCitation", "PubmedBookArticle"}


def read_medline(paths: Sequence[Path], report: ReadReport) -> Iterator[Document]:
    """Citations of one file, or of several in the order they were published.

    Parameters
    ----------
    paths
        Baseline and update files, gzipped or not.
    report
        Counts how many were deleted, replaced, or have no abstract.

    Raises
    ------
    InputError
        If a file is broken.
    """
    last: dict[str, int] = {}
    deleted: dict[str, int] = {}
    order = 0
    for path in paths:
        for element, _ in xml_records(path, _RECORDS):
            order += 1
            if element.tag == "DeleteCitation":
                deleted |= {texts_of(pmid).strip(): order for pmid in element.iter("PMID")}
            else:
                last[_pmid(element)] = order
    order = 0
    for path in paths:
        for element, _ in xml_records(path, _RECORDS):
            order += 1
            if element.tag == "DeleteCitation":
                continue
            pmid = _pmid(element)
            if last[pmid] != order:
                report.counts["citations replaced by a later version"] += 1
            # A citation that comes again after it was deleted is there again.
            elif deleted.get(pmid, 0) > order:
                report.counts["deleted citations, left out"] += 1
            else:
                yield _document(element, pmid, report)


def _pmid(element: Element) -> str:
    # The citation's own PMID comes first; later ones are those of comments and references.
    return texts_of(next(element.iter("PMID"), None)).strip()


def _document(element: Element, pmid: str, report: ReadReport) -> Document:
    article = next(element.iter("Article"), element)
    title = " ".join(texts_of(_first(article, ("ArticleTitle", "BookTitle"))).split())
    parts, sections = [("title", title)], []
    abstract = article.find("Abstract")
    for part in [] if abstract is None else abstract.findall("AbstractText"):
        body = " ".join(texts_of(part).split())
        if not body:
            continue
        label = part.get("Label", "")
        parts.append((label or "abstract", body))
        sections.append({"label": label, "nlm_category": part.get("NlmCategory", "")})
    if not sections:
        report.counts["citations without an abstract"] += 1
    report.documents += 1
    text, passages = joined(parts)
    return Document(pmid, text, passages, metadata=_metadata(element, article, sections))


def _first(article: Element, names: Sequence[str]) -> Element | None:
    return next((element for name in names for element in article.iter(name)), None)


def _metadata(element: Element, article: Element, sections: list[dict[str, str]]) -> dict[str, Any]:
    date = article.find("Journal/JournalIssue/PubDate")
    year = texts_of(None if date is None else date.find("Year"))
    if not year and date is not None:
        year = texts_of(date.find("MedlineDate"))[:4]
    metadata: dict[str, Any] = {
        "year": year,
        "journal": texts_of(article.find("Journal/Title")),
        "language": [texts_of(each) for each in article.findall("Language")],
        "publication_types": [texts_of(each) for each in article.iter("PublicationType")],
        "mesh": [_heading(each) for each in element.iter("MeshHeading")],
    }
    if any(part["label"] for part in sections):
        metadata["sections"] = sections
    return {key: value for key, value in metadata.items() if value}


def _heading(element: Element) -> dict[str, Any]:
    name = element.find("DescriptorName")
    qualifiers = element.findall("QualifierName")
    major = [each.get("MajorTopicYN") == "Y" for each in ([] if name is None else [name]) + qualifiers]
    return {
        "descriptor": texts_of(name),
        "ui": "" if name is None else name.get("UI", ""),
        "major": any(major),
        "qualifiers": [texts_of(each) for each in qualifiers],
    }
