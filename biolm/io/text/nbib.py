"""MEDLINE display format (``.nbib``): tags of four characters and a dash; six blanks begin a continuation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.text.document import Document, joined
from biolm.io.text.source import lines_of

__all__ = ["read_nbib"]

_TAG = re.compile(r"([A-Z][A-Z0-9 ]{3})- (.*)")
_LABEL = re.compile(r"(?:(?<=^)|(?<=[.?!)] ))([A-Z][A-Z/&, ]{3,40}): ")


def read_nbib(path: Path) -> Iterator[Document]:
    """Records of a file.

    Raises
    ------
    InputError
        If a line is neither a tag nor a continuation, or a record has no PMID.
    """
    fields: dict[str, list[str]] = {}
    tag, first = "", 1
    for number, line in lines_of(path):
        # The column alone decides: a continuation may read like a tag.
        if line.startswith("      ") and tag:
            fields[tag][-1] += " " + line.strip()
            continue
        if not line.strip():
            continue
        # Editors strip the blank behind an empty field.
        match = _TAG.fullmatch(line) or _TAG.fullmatch(line + " ")
        if match is None:
            raise InputError(f"{path}, line {number} is neither a tag (PMID- ...) nor a continuation of one")
        tag = match[1].strip()
        if tag == "PMID":
            if fields:
                yield _document(fields, path, first)
            fields, first = {}, number
        fields.setdefault(tag, []).append(match[2].strip())
    if fields:
        yield _document(fields, path, first)


def _document(fields: dict[str, list[str]], path: Path, line: int) -> Document:
    if "PMID" not in fields:
        raise InputError(f"{path}: the record from line {line} has no PMID; correct it")
    title, abstract = (" ".join(fields.get(tag, [])) for tag in ("TI", "AB"))
    text, passages = joined([("title", title), *_sections(abstract)])
    metadata: dict[str, Any] = {
        "year": fields.get("DP", [""])[0][:4],
        "journal": fields.get("JT", [""])[0],
        "language": fields.get("LA", []),
        "publication_types": fields.get("PT", []),
        "mesh": [_heading(each) for each in fields.get("MH", [])],
    }
    return Document(
        fields["PMID"][0], text, passages, metadata={key: value for key, value in metadata.items() if value}
    )


def _sections(abstract: str) -> list[tuple[str, str]]:
    """Sections of an abstract whose labels stand in it in capitals; the labels become the passages' kinds."""
    cuts = list(_LABEL.finditer(abstract))
    # Labels count only where the first begins the abstract: capitals elsewhere are words.
    if not cuts or cuts[0].start():
        return [("abstract", abstract)]
    ends = [cut.start() for cut in cuts[1:]] + [len(abstract)]
    return [(cut[1], abstract[cut.end() : end].strip()) for cut, end in zip(cuts, ends, strict=True)]


def _heading(text: str) -> dict[str, Any]:
    name, *qualifiers = text.split("/")
    return {
        "descriptor": name.lstrip("*"),
        "ui": "",
        "major": "*" in text,
        "qualifiers": [each.lstrip("*") for each in qualifiers],
    }
