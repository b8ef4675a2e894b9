"""BRAT standoff: ``NAME.txt`` and ``NAME.ann`` in one folder.

Read are mentions (T, discontinuous ones too), references (N), relations between mentions (R) and notes (#);
events, attributes and equivalences are counted as not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from biolm.errors import InputError
from biolm.io.text.document import Document, Relation
from biolm.io.text.losses import Losses
from biolm.io.text.raw import RawDocument, RawMention, RawPassage, ReadReport
from biolm.io.text.source import lines_of, open_text

__all__ = ["raw_brat", "write_brat"]

_MENTION = re.compile(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)")
_SCORE = re.compile(r"confidence=([0-9.eE+-]+)")


def raw_brat(path: Path, report: ReadReport) -> Iterator[RawDocument]:
    """Documents of a folder, or of one ``.ann`` file, each with its ``.txt``.

    Parameters
    ----------
    path
        Folder or ``.ann`` file.
    report
        Counts what does not fit.
    """
    files = sorted(path.glob("*.ann")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"folder {path} holds no .ann file; give a folder of BRAT files")
    report.counts.pop("BRAT lines that are not read (events, attributes)", None)
    for file in files:
        yield _raw(file, report)


def _raw(path: Path, report: ReadReport) -> RawDocument:
    text_file = path.with_suffix(".txt")
    if not text_file.is_file():
        raise InputError(f"{path} has no {text_file.name} beside it; BRAT keeps the text there")
    # Offsets of BRAT count a line end as one character.
    with open_text(text_file) as file:
        text = file.read().replace("\r\n", "\n")
    raw = RawDocument(path.stem, [RawPassage(text)], where=str(path))
    ids: dict[str, str] = {}
    scores: dict[str, float] = {}
    notes: dict[str, str] = {}
    for number, line in lines_of(path):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) < 2:
            raise InputError(f"{path}, line {number} has no tab; BRAT columns are tab-separated")
        _line(raw, columns, number, (ids, scores, notes), report)
    raw.mentions = [
        replace(each, ids=ids.get(each.name, ""), score=scores.get(each.name), note=notes.get(each.name, ""))
        for each in raw.mentions
    ]
    return raw


def _line(
    raw: RawDocument,
    columns: list[str],
    number: int,
    tables: tuple[dict[str, str], dict[str, float], dict[str, str]],
    report: ReadReport,
) -> None:
    ids, scores, notes = tables
    name, body = columns[0], columns[1]
    where = f"{raw.where}, line {number}"
    if name.startswith("T"):
        match = _MENTION.fullmatch(body)
        if match is None or len(columns) < 3:
            raise InputError(f"{where}: {body!r} is no mention; expected TYPE START END and the text")
        spans = tuple((int(a), int(b)) for a, b in (pair.split() for pair in match[2].split(";")))
        raw.mentions.append(RawMention(spans, columns[2], match[1], name=name, line=number))
    elif name.startswith("N"):
        parts = body.split(" ", 2)
        if len(parts) != 3:
            raise InputError(f"{where}: {body!r} is no reference; expected Reference T1 IDENTIFIER")
        ids[parts[1]] = f"{ids[parts[1]]}|{parts[2]}" if parts[1] in ids else parts[2]
    elif name.startswith("R"):
        kind, *arguments = body.split()
        pairs = tuple((role, f"@{target}") for role, _, target in (each.partition(":") for each in arguments))
        raw.relations.append(Relation(kind, pairs))
    elif name.startswith("#") and len(columns) > 2:
        target = body.split()[-1]
        score = _SCORE.fullmatch(columns[2])
        if score is not None:
            scores[target] = float(score[1])
        else:
            notes[target] = columns[2]
    else:
        report.counts["BRAT lines that are not read (events, attributes)"] += 1


def write_brat(documents: Iterable[Document], folder: Path) -> Losses:
    """Write a folder with two files a document; what the format cannot hold is counted.

    Parameters
    ----------
    documents
        To write.
    folder
        That is there.
    """
    losses = Losses("BRAT")
    folder.mkdir()
    for document in documents:
        # Names of documents come from files of others, and must not lead out of the folder.
        if not re.fullmatch(r"[^/\\\x00]+", document.name) or document.name in (".", ".."):
            raise InputError(f"{document.name!r} cannot be the name of a file; rename the document")
        # newline="": Windows would write two characters a line end, and shift every offset.
        (folder / f"{document.name}.txt").write_text(document.text, encoding="utf-8", newline="")
        lines = list(_lines(document, losses))
        (folder / f"{document.name}.ann").write_text("".join(lines), encoding="utf-8", newline="")
        if document.passages:
            losses.add("passage border", document.name)
        for key in document.metadata:
            losses.add(f"metadata field {key!r}", document.name)
        if document.words:
            losses.add("document's own words", document.name)
    return losses


def _lines(document: Document, losses: Losses) -> Iterator[str]:
    names: dict[str, str] = {}
    notes = 0
    for number, mention in enumerate(document.mentions, 1):
        name = f"T{number}"
        names[mention.name] = name
        places = ";".join(f"{start} {end}" for start, end in mention.spans)
        if re.search(r"\s", mention.kind) or not mention.kind:
            raise InputError(f"BRAT cannot hold the type {mention.kind!r}; types have no blanks")
        # One blank for each, so that the text keeps its length and BRAT its offsets.
        text = re.sub(r"[\t\n\r]", " ", document.covered(mention))
        yield f"{name}\t{mention.kind} {places}\t{text}\n"
        if mention.ids:
            yield f"N{number}\tReference {name} {mention.ids}\t{text}\n"
        for note in ([] if mention.score is None else [f"confidence={mention.score!r}"]) + [
            mention.note
        ] * bool(mention.note):
            notes += 1
            yield f"#{notes}\tAnnotatorNotes {name}\t{note}\n"
    written = 0
    for relation in document.relations:
        targets = [names.get(value[1:]) if value.startswith("@") else None for _, value in relation.arguments]
        if None in targets:
            losses.add("relation between identifiers", document.name)
            continue
        written += 1
        pairs = " ".join(
            f"{role or f'Arg{n}'}:{target}"
            for n, ((role, _), target) in enumerate(zip(relation.arguments, targets, strict=True), 1)
        )
        yield f"R{written}\t{relation.kind} {pairs}\n"
        if relation.score is not None:
            losses.add("confidence of a relation", document.name)
