"""BioC, XML and JSON: passages with offsets, annotations with several locations, relations.

Both forms pass through the same plain dictionaries, so that they cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import Element

from biolm.errors import InputError
from biolm.io.damage import reason_of
from biolm.io.json_file import parse_json
from biolm.io.text.document import Document, Mention, Passage, Relation, normalise_ids
from biolm.io.text.losses import Losses
from biolm.io.text.raw import RawDocument, RawMention, RawPassage
from biolm.io.text.source import open_text
from biolm.io.text.xml_records import clean_xml, texts_of, xml_attribute, xml_records, xml_text

__all__ = ["raw_bioc_json", "raw_bioc_xml", "write_bioc_json", "write_bioc_xml"]

_ID_KEYS = (
    "identifier",
    "Identifier",
    "cui",
    "MESH",
    "mesh",
    "NCBI Gene",
    "NCBI GENE",
    "CHEBI",
    "OMIM",
    "Species",
)


def raw_bioc_xml(path: Path) -> Iterator[RawDocument]:
    """Documents of a BioC XML file."""
    for element, line in xml_records(path, {"document"}):
        yield _raw(_from_xml(element), f"{path}, line {line}")


def raw_bioc_json(path: Path) -> Iterator[RawDocument]:
    """Documents of a BioC JSON file: a collection, a list of documents, or one document a line."""
    for number, document in enumerate(_json_documents(path), 1):
        if not isinstance(document, dict):
            raise InputError(f"{path}: document {number} is no object; is this BioC JSON?")
        yield _raw(document, f"{path}, document {document.get('id', number)}")


def _json_documents(path: Path) -> Iterator[Any]:
    with open_text(path) as file:
        head = file.read(1)
        # PubTator exports one document a line; a line alone distinguishes that from one large object.
        text = head + file.readline()
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError):  # one object of many lines, which is read whole below
            whole = None
        if isinstance(whole, dict) and "passages" in whole:
            yield whole
            for line in file:
                if line.strip():
                    yield parse_json(line, path, InputError)
            return
        content = whole if whole is not None else parse_json(text + file.read(), path, InputError)
    documents = content.get("documents") if isinstance(content, dict) else content
    if not isinstance(documents, list):
        raise InputError(f"{path} holds no documents; BioC JSON is an object with 'documents'")
    yield from documents


def _from_xml(element: Element) -> dict[str, Any]:
    """A document element as BioC JSON has it."""
    return {
        "id": texts_of(element.find("id")),
        "infons": _infons(element),
        "relations": [_relation_from_xml(each) for each in element.findall("relation")],
        "passages": [_part_from_xml(part) for part in element.findall("passage")],
    }


def _part_from_xml(part: Element) -> dict[str, Any]:
    fields = {
        "infons": _infons(part),
        "offset": texts_of(part.find("offset")),
        "annotations": [_annotation_from_xml(each) for each in part.findall("annotation")],
        "relations": [_relation_from_xml(each) for each in part.findall("relation")],
        "sentences": [_part_from_xml(each) for each in part.findall("sentence")],
    }
    text = part.find("text")
    return fields if text is None else fields | {"text": texts_of(text)}


def _annotation_from_xml(element: Element) -> dict[str, Any]:
    text = element.find("text")
    return {
        "id": element.get("id", ""),
        "infons": _infons(element),
        "text": None if text is None else texts_of(text),
        "locations": [dict(each.attrib) for each in element.findall("location")],
    }


def _relation_from_xml(element: Element) -> dict[str, Any]:
    return {
        "id": element.get("id", ""),
        "infons": _infons(element),
        "nodes": [dict(each.attrib) for each in element.findall("node")],
    }


def _infons(element: Element) -> dict[str, str]:
    return {each.get("key", ""): texts_of(each) for each in element.findall("infon")}


def _raw(document: Mapping[str, Any], where: str) -> RawDocument:
    raw = RawDocument(str(document.get("id", "")), [], where=where)
    infons = dict(document.get("infons") or {})
    raw.text = infons.pop("text", None)
    raw.metadata = dict(infons)
    try:
        for part in document.get("passages") or []:
            _add_passage(raw, part)
        raw.relations += [_relation(each) for each in document.get("relations") or []]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where} is not as BioC says ({reason_of(error)}); correct it") from error
    return raw


def _add_passage(raw: RawDocument, part: Mapping[str, Any]) -> None:
    infons = part.get("infons") or {}
    kind = str(infons.get("type") or infons.get("section_type") or "")
    sentences = part.get("sentences") or []
    texts = [part] if part.get("text") is not None or not sentences else sentences
    for piece in texts:
        raw.passages.append(RawPassage(str(piece.get("text") or ""), kind, int(piece["offset"])))
        raw.mentions += [_mention(each, len(raw.passages) - 1) for each in piece.get("annotations") or []]
    # Text in the passage and sentences beside it: the sentences' own text would be there twice.
    if texts[0] is part:
        for sentence in sentences:
            raw.mentions += [
                _mention(each, len(raw.passages) - 1) for each in sentence.get("annotations") or []
            ]
    raw.relations += [_relation(each) for each in part.get("relations") or []]


def _mention(annotation: Mapping[str, Any], passage: int) -> RawMention:
    infons = annotation.get("infons") or {}
    # Corpora name the identifier differently; the first that holds something counts.
    key = next((name for name in _ID_KEYS if infons.get(name)), "")
    score = infons.get("score")
    spans = tuple(
        (int(each["offset"]), int(each["offset"]) + int(each["length"])) for each in annotation["locations"]
    )
    return RawMention(
        spans,
        annotation.get("text"),
        str(infons.get("type", "")),
        str(infons.get(key, "")),
        str(annotation.get("id", "")),
        None if score is None else float(score),
        str(infons.get("note", "")),
        passage,
    )


def _relation(fields: Mapping[str, Any]) -> Relation:
    infons = dict(fields.get("infons") or {})
    score = infons.pop("score", None)
    kind = str(infons.pop("relation", None) or infons.pop("type", ""))
    nodes = [(str(node.get("role", "")), f"@{node['refid']}") for node in fields.get("nodes") or []]
    ids = [(str(role), normalise_ids(str(value))) for role, value in infons.items()]
    return Relation(kind, (*nodes, *ids), None if score is None else float(score))


def _plain(document: Document, losses: Losses) -> dict[str, Any]:
    """A document as BioC JSON has it."""
    passages = _flat(document, losses)
    infons = {
        str(key): value if isinstance(value, str) else json.dumps(value)
        for key, value in document.metadata.items()
    }
    if _rebuilt(document, passages) != document.text:
        infons["text"] = document.text
    by_passage: list[list[dict[str, Any]]] = [[] for _ in passages]
    for number, mention in enumerate(document.mentions):
        owner = max((row for row, part in enumerate(passages) if part.start <= mention.start), default=0)
        by_passage[owner].append(_annotation(document, mention, mention.name or f"T{number + 1}"))
    if document.words:
        losses.add("document's own words", document.name)
    return {
        "id": document.name,
        "infons": infons,
        "passages": [
            {
                "offset": part.start,
                "infons": {"type": part.kind} if part.kind else {},
                "text": document.covered(part),
                "sentences": [],
                "annotations": annotations,
                "relations": [],
            }
            for part, annotations in zip(passages, by_passage, strict=True)
        ],
        "relations": [_plain_relation(each, number) for number, each in enumerate(document.relations)],
        "annotations": [],
    }


def _flat(document: Document, losses: Losses) -> list[Passage]:
    """Passages that do not overlap and hold all text; a nested one is counted as lost."""
    kept: list[Passage] = []
    for part in sorted(document.passages, key=lambda each: (each.start, -each.end)):
        if kept and part.start < kept[-1].end:
            losses.add("nested passage", document.name)
        else:
            kept.append(part)
    if (
        not kept
        or document.text[kept[-1].end :].strip()
        or any(
            document.text[a.end : b.start].strip() for a, b in zip([Passage(0, 0), *kept], kept, strict=False)
        )
    ):
        if kept:
            losses.add("passage border (text lies outside the passages)", document.name)
        return [Passage(0, len(document.text))]
    return kept


def _rebuilt(document: Document, passages: Sequence[Passage]) -> str:
    text = ""
    for part in passages:
        # As readers of BioC put passages together; what they would not get back is kept beside.
        text += "\n" * (part.start - len(text)) + document.covered(part)
    return text


def _annotation(document: Document, mention: Mention, name: str) -> dict[str, Any]:
    infons = {"type": mention.kind}
    if mention.ids:
        infons["identifier"] = mention.ids
    if mention.score is not None:
        infons["score"] = repr(mention.score)
    if mention.note:
        infons["note"] = mention.note
    pieces = [document.text[start:end] for start, end in mention.spans]
    return {
        "id": name,
        "infons": infons,
        "text": " [...] ".join(pieces),
        "locations": [{"offset": start, "length": end - start} for start, end in mention.spans],
    }


def _plain_relation(relation: Relation, number: int) -> dict[str, Any]:
    infons = {"relation": relation.kind}
    if relation.score is not None:
        infons["score"] = repr(relation.score)
    nodes = []
    for role, value in relation.arguments:
        if value.startswith("@"):
            nodes.append({"refid": value[1:], "role": role})
        else:
            infons[role] = value
    return {"id": f"R{number}", "infons": infons, "nodes": nodes}


def write_bioc_json(documents: Iterable[Document], file: IO[str]) -> Losses:
    """Write a collection, document by document.

    Parameters
    ----------
    documents
        To write.
    file
        Open for writing.
    """
    losses = Losses("BioC JSON")
    # Piece by piece, so that a corpus need not fit into memory.
    file.write('{"source": "biolm", "date": "", "key": "", "infons": {}, "documents": [')
    for number, document in enumerate(documents):
        file.write(("," if number else "") + "\n" + json.dumps(_plain(document, losses), ensure_ascii=False))
    file.write("\n]}\n")
    return losses


def write_bioc_xml(documents: Iterable[Document], file: IO[str]) -> Losses:
    """Write a collection, document by document.

    Parameters
    ----------
    documents
        To write.
    file
        Open for writing.
    """
    losses = Losses("BioC XML")
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n')
    file.write("<collection><source>biolm</source><date></date><key></key>\n")
    for document in documents:
        for _ in range(clean_xml(document.text)[1]):
            losses.add("control character", document.name)
        file.write(_xml_document(_plain(document, losses)) + "\n")
    file.write("</collection>\n")
    return losses


def _xml_document(document: dict[str, Any]) -> str:
    parts = [f"<document><id>{xml_text(document['id'])}</id>{_xml_infons(document)}"]
    for passage in document["passages"]:
        parts.append(f"\n<passage>{_xml_infons(passage)}<offset>{passage['offset']}</offset>")
        parts.append(f"<text>{xml_text(passage['text'])}</text>")
        for each in passage["annotations"]:
            places = "".join(
                f'<location offset="{at["offset"]}" length="{at["length"]}"/>' for at in each["locations"]
            )
            name, text = xml_attribute(each["id"]), xml_text(each["text"])
            parts.append(
                f"\n<annotation id={name}>{_xml_infons(each)}{places}<text>{text}</text></annotation>"
            )
        parts.append("</passage>")
    for each in document["relations"]:
        nodes = "".join(
            f"<node refid={xml_attribute(node['refid'])} role={xml_attribute(node['role'])}/>"
            for node in each["nodes"]
        )
        parts.append(f"\n<relation id={xml_attribute(each['id'])}>{_xml_infons(each)}{nodes}</relation>")
    return "".join(parts) + "</document>"


def _xml_infons(part: dict[str, Any]) -> str:
    return "".join(
        f"<infon key={xml_attribute(str(key))}>{xml_text(str(value))}</infon>"
        for key, value in part["infons"].items()
    )
