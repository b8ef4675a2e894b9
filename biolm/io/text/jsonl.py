"""JSON lines: biolm's own form, which holds everything, and records with a text or title and abstract."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from biolm.errors import InputError
from biolm.io.damage import reason_of
from biolm.io.json_file import parse_json
from biolm.io.text.document import Document, Mention, Passage, Relation, joined, normalise_ids
from biolm.io.text.losses import Losses
from biolm.io.text.source import lines_of, stem_of

__all__ = ["document_of", "read_jsonl", "write_jsonl"]

_NAMES = ("name", "id", "pmid", "_id", "doc_id")


def read_jsonl(path: Path) -> Iterator[Document]:
    """Documents of a file with one JSON object a line.

    Raises
    ------
    InputError
        If a line is no object, or has neither text nor title nor abstract, or its spans lie outside the text.
    """
    for number, line in lines_of(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        record = parse_json(line, where, InputError)
        if not isinstance(record, dict):
            raise InputError(f"{where} is no JSON object; give one a line")
        try:
            yield document_of(record, f"{stem_of(path)}:{number}", where)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where} is no document as biolm reads it ({reason_of(error)}); correct it"
            ) from error


def document_of(record: Mapping[str, Any], name: str, where: str) -> Document:
    """The document of one record.

    Parameters
    ----------
    record
        Either what :func:`write_jsonl` writes, or ``title``, ``abstract`` and anything else.
    name
        Name of a document without one.
    where
        For messages.
    """
    name = str(next((record[key] for key in _NAMES if record.get(key)), name))
    if "text" not in record:
        return _titled(record, name, where)
    text = str(record["text"])
    document = Document(
        name,
        text,
        tuple(Passage(**part) for part in record.get("passages", ())),
        tuple((int(start), int(end)) for start, end in record.get("words", ())),
        tuple(_mention(each) for each in record.get("mentions", ())),
        tuple(
            Relation(each["kind"], tuple((str(a), str(b)) for a, b in each["arguments"]), each.get("score"))
            for each in record.get("relations", ())
        ),
        record.get("metadata", {}),
    )
    spans = [span for mention in document.mentions for span in mention.spans]
    spans += [*document.words, *((part.start, part.end) for part in document.passages)]
    # Python slices beyond a text without an error, so that a mention would become empty.
    outside = next(((a, b) for a, b in spans if not 0 <= a <= b <= len(text)), None)
    if outside is not None:
        raise InputError(
            f"{where}: place {outside[0]} {outside[1]} lies outside a text of {len(text)} characters"
        )
    return document


def _mention(each: Mapping[str, Any]) -> Mention:
    spans = tuple((int(start), int(end)) for start, end in each["spans"])
    score = each.get("score")
    return Mention(
        spans,
        str(each.get("kind", "")),
        normalise_ids(str(each.get("ids", ""))),
        str(each.get("name", "")),
        None if score is None else float(score),
        str(each.get("note", "")),
    )


def _titled(record: Mapping[str, Any], name: str, where: str) -> Document:
    parts = [("title", str(record.get("title") or ""))]
    if record.get("sections"):
        parts += [(str(part.get("label", "")), str(part["text"])) for part in record["sections"]]
    else:
        parts.append(("abstract", str(record.get("abstract") or "")))
    if "title" not in record and "abstract" not in record:
        raise InputError(
            f"{where} has neither 'text' nor 'title' nor 'abstract'; rename the field that holds the text"
        )
    text, passages = joined(parts)
    rest = {key: value for key, value in record.items() if key not in ("title", "abstract", *_NAMES)}
    return Document(name, text, passages, metadata=rest)


def write_jsonl(documents: Iterable[Document], file: IO[str]) -> Losses:
    """Write one object a line; nothing is lost.

    Parameters
    ----------
    documents
        To write.
    file
        Open for writing.
    """
    for document in documents:
        record = asdict(document)
        record["mentions"] = [
            {key: value for key, value in each.items() if value not in ("", None)}
            | {"text": document.covered(mention)}
            for each, mention in zip(record["mentions"], document.mentions, strict=True)
        ]
        kept = {key: value for key, value in record.items() if value or key in ("name", "text")}
        file.write(json.dumps(kept, ensure_ascii=False) + "\n")
    return Losses("JSONL")
