"""PubTator: title and abstract on a line each, mentions and relations in tab-separated columns.

Column six of a mention holds its identifiers, column seven a confidence, or the parts of a composite.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from biolm.errors import InputError
from biolm.io.text.document import Document, Mention, Relation, normalise_ids
from biolm.io.text.losses import Losses
from biolm.io.text.raw import RawDocument, RawMention, RawPassage
from biolm.io.text.source import lines_of

__all__ = ["raw_pubtator", "write_pubtator"]

_TEXT = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_ROLES = {"CID": ("Chemical", "Disease")}


def raw_pubtator(path: Path) -> Iterator[RawDocument]:
    """Documents of a PubTator file."""
    raw: RawDocument | None = None
    for number, line in lines_of(path):
        if not line.strip():
            if raw is not None:
                yield raw
            raw = None
            continue
        match = _TEXT.fullmatch(line)
        if match is not None:
            name, letter, text = match.groups()
            if raw is not None and (raw.name != name or (letter == "t" and raw.passages)):
                yield raw
                raw = None
            if raw is None:
                raw = RawDocument(name, [], where=f"{path}, document {name}")
            raw.passages.append(RawPassage(text, "title" if letter == "t" else "abstract"))
            continue
        columns = line.split("\t")
        if raw is None or columns[0] != raw.name:
            raise InputError(
                f"{path}, line {number} belongs to document {columns[0][:30]!r}, whose title (PMID|t|...) "
                "does not stand above it"
            )
        _add(raw, columns, f"{path}, line {number}", number)
    if raw is not None:
        yield raw


def _add(raw: RawDocument, columns: list[str], where: str, line: int) -> None:
    if len(columns) >= 4 and not columns[1].strip().isdecimal():
        raw.relations.append(_relation(columns, where))
        return
    if len(columns) < 5:
        raise InputError(
            f"{where} has {len(columns)} columns; a mention has at least 5: PMID, start, end, text, type"
        )
    try:
        start, end = int(columns[1]), int(columns[2])
    except ValueError:
        raise InputError(
            f"{where}: start and end {columns[1:3]} are no whole numbers; correct them"
        ) from None
    score, note = None, ""
    if len(columns) > 6:
        try:
            score = float(columns[6])
        except ValueError:
            # The seventh column is a confidence in some exports and a comment in others.
            note = columns[6]
    ids = columns[5] if len(columns) > 5 else ""
    raw.mentions.append(RawMention(((start, end),), columns[3], columns[4], ids, "", score, note, 0, line))


def _relation(columns: list[str], where: str) -> Relation:
    kind, ids = columns[1], [normalise_ids(value) for value in columns[2:4]]
    roles = _ROLES.get(kind, ("Arg1", "Arg2"))
    score = None
    if len(columns) > 4 and columns[4].strip():
        try:
            score = float(columns[4])
        except ValueError:
            raise InputError(f"{where}: confidence {columns[4]!r} of a relation is not a number") from None
    return Relation(kind, tuple(zip(roles, ids, strict=True)), score)


def write_pubtator(documents: Iterable[Document], file: IO[str]) -> Losses:
    """Write titles, abstracts, mentions and relations; what the format cannot hold is counted.

    Parameters
    ----------
    documents
        To write.
    file
        Open for writing.
    """
    losses = Losses("PubTator")
    for number, document in enumerate(documents):
        if number:
            file.write("\n")
        _write_text(document, file, losses)
        for mention in document.mentions:
            _write_mention(document, mention, file, losses)
        for relation in document.relations:
            if len(relation.arguments) == 2 and not any(
                value.startswith("@") for _, value in relation.arguments
            ):
                ids = "\t".join(value for _, value in relation.arguments)
                score = "" if relation.score is None else f"\t{relation.score!r}"
                file.write(f"{document.name}\t{relation.kind}\t{ids}{score}\n")
            else:
                losses.add("relation between mentions", document.name)
    return losses


def _write_text(document: Document, file: IO[str], losses: Losses) -> None:
    """The text in two lines; line ends inside become blanks, so that offsets stay."""
    if "|" in document.name or "\t" in document.name or not document.name:
        raise InputError(f"PubTator cannot hold the document name {document.name!r}; names have no | or tab")
    first = document.passages[0] if document.passages else None
    title_end = first.end if first and first.kind.lower() == "title" and not first.start else 0
    title, rest = document.text[:title_end], document.text[title_end:]
    if title.endswith("\n"):
        title, rest = title[:-1], "\n" + rest
    if title_end and rest and not rest.startswith(("\n", " ")):
        losses.add("title that touches the text", document.name)
        title, rest = "", document.text
    elif rest and title_end:
        rest = rest[1:]
    if not title_end:
        # A title takes one place more than its length: the first line of a text without title is its title.
        title, _, rest = document.text.partition("\n")
    for text, letter in ((title, "t"), (rest, "a")):
        for _ in range(len(re.findall(r"[\n\r]", text))):
            losses.add("line end (written as a blank)", document.name)
        clean = re.sub(r"[\n\r]", " ", text)
        file.write(f"{document.name}|{letter}|{clean}\n")
    if len(document.passages) > 2:
        losses.add("passage borders", document.name)
    for key in document.metadata:
        losses.add(f"metadata field {key!r}", document.name)
    if document.words:
        losses.add("document's own words", document.name)


def _write_mention(document: Document, mention: Mention, file: IO[str], losses: Losses) -> None:
    if not mention.whole:
        losses.add("discontinuous mention", document.name)
        return
    text = re.sub(r"[\t\n\r]", " ", document.covered(mention))
    columns = [document.name, str(mention.start), str(mention.end), text, mention.kind, mention.ids or "-1"]
    if mention.score is not None:
        columns.append(repr(mention.score))
        if mention.note:
            losses.add("note beside a confidence", document.name)
    elif mention.note:
        columns.append(mention.note)
    file.write("\t".join(columns) + "\n")
