"""CoNLL and other token files: one word a line, its tag in the last column, a blank line between sentences.

Columns are split by tabs (by blanks where no line of the file holds a tab). With four or more columns of
which the second and third are numbers, those are the word's offsets in the document. Documents begin at
``# doc_id = NAME`` or ``-DOCSTART-``; in a file without such lines every sentence is a document.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from biolm.errors import InputError
from biolm.io.text.document import Document, Mention, Passage, Span
from biolm.io.text.losses import Losses
from biolm.io.text.raw import MOST_BLANK
from biolm.io.text.source import lines_of, stem_of
from biolm.io.text.tags import SchemeEvidence, decode_tags, encode_tags
from biolm.io.text.words import split_words

__all__ = ["read_conll", "write_conll"]

_MARKS = ("# doc_id", "-DOCSTART-", "###MEDLINE:")


@dataclass(slots=True)
class _Row:
    word: str
    tag: str
    line: int
    span: Span | None = None


@dataclass(slots=True)
class _Group:
    """Sentences of one document."""

    name: str
    sentences: list[list[_Row]] = field(default_factory=list)


def read_conll(path: Path, *, scheme: str | None = None) -> Iterator[Document]:
    """Documents of a token file; the file is read twice, first for its scheme and columns.

    Parameters
    ----------
    path
        The file, gzipped or not.
    scheme
        Tag scheme; recognised over the whole file by default.

    Raises
    ------
    InputError
        If a row has too few or too many columns, or the tags follow no scheme.
    """
    columns, tag_scheme, marked = _survey(path, scheme)
    for number, group in enumerate(_groups(path, columns, marked)):
        yield _document(group, tag_scheme, number if not marked else None)


def _survey(path: Path, scheme: str | None) -> tuple[tuple[str | None, int], str, bool]:
    """How the file splits its columns and how many it has, its scheme, whether it names documents."""
    evidence, tags, first = SchemeEvidence(), [], 0
    tabs, marked, count = False, False, 0
    for number, line in lines_of(path):
        if line.startswith(_MARKS):
            marked = True
        elif line.strip():
            # A word may hold blanks only where tabs part the columns.
            tabs = tabs or "\t" in line
            separator = "\t" if tabs else None
            row = line.split(separator)
            count = count or len(row)
            _check_columns(path, number, row, count)
            tags.append(row[-1].strip())
            first = first or number
            continue
        if tags and scheme is None:
            _note(evidence, tags, path, first)
        tags, first = [], 0
    if tags and scheme is None:
        _note(evidence, tags, path, first)
    return ("\t" if tabs else None, count), scheme or evidence.scheme(), marked


def _note(evidence: SchemeEvidence, tags: list[str], path: Path, line: int) -> None:
    try:
        evidence.add(tags, f"the sentence from line {line} of {path}, ")
    except InputError as error:
        raise InputError(f"{path}, sentence from line {line}: {error}") from error


def _check_columns(path: Path, number: int, row: Sequence[str], count: int) -> None:
    if len(row) < 2 or len(row) < count:
        raise InputError(
            f"{path}, line {number} has {len(row)} columns, not {max(count, 2)}; every row needs a "
            "word and a tag"
        )
    if len(row) > count:
        raise InputError(
            f"{path}, line {number} has {len(row)} columns, not {count}; is there a tab inside a word?"
        )


def _groups(path: Path, columns: tuple[str | None, int], marked: bool) -> Iterator[_Group]:
    group = _Group("")
    sentence: list[_Row] = []

    def close() -> None:
        nonlocal sentence
        if sentence:
            group.sentences.append(sentence)
        sentence = []

    for number, line in lines_of(path):
        if line.startswith(_MARKS):
            close()
            if group.sentences or group.name:
                yield group
            group = _Group(line.partition("=" if "=" in line else ":")[2].strip() or stem_of(path))
        elif line.strip():
            sentence.append(_row(line.split(columns[0]), number))
        else:
            close()
            if not marked and group.sentences:
                yield group
                group = _Group("")
        if not group.name and not marked:
            group.name = stem_of(path)
    close()
    if group.sentences or (marked and group.name):
        yield group


def _row(columns: list[str], line: int) -> _Row:
    if len(columns) >= 4 and columns[1].isdecimal() and columns[2].isdecimal():
        return _Row(columns[0], columns[-1].strip(), line, (int(columns[1]), int(columns[2])))
    return _Row(columns[0], columns[-1].strip(), line)


def _document(group: _Group, scheme: str, number: int | None) -> Document:
    """Text made of the words: one blank between words, a line end between sentences, or as offsets say."""
    text = ""
    words: list[Span] = []
    passages: list[Passage] = []
    mentions: list[Mention] = []
    for sentence in group.sentences:
        spans = []
        for place, row in enumerate(sentence):
            if row.span is None:
                text += ("\n" if not place else " ") if text else ""
                start = len(text)
            else:
                start = row.span[0]
                # Offsets that do not fit would put every later mention elsewhere.
                if start < len(text) or row.span[1] - start != len(row.word):
                    raise InputError(
                        f"document {group.name}, line {row.line}: word {row.word!r} does not fit its offsets "
                        f"{row.span[0]} {row.span[1]}"
                    )
                gap = start - len(text)
                # One damaged offset could ask for gigabytes of blanks.
                if gap > MOST_BLANK:
                    raise InputError(
                        f"document {group.name}, line {row.line}: word {row.word!r} lies {gap:,} characters "
                        "behind the last; fix its offset"
                    )
                text += "\n" * gap if not place and passages and gap else " " * gap
            text += row.word
            spans.append((start, len(text)))
        tags = [row.tag for row in sentence]
        mentions += [
            Mention(((spans[first][0], spans[last - 1][1]),), kind)
            for first, last, kind in decode_tags(tags, scheme)
        ]
        words += spans
        passages.append(Passage(spans[0][0], spans[-1][1], "sentence"))
    name = group.name if number is None else f"{group.name}:{number}"
    return Document(name, text, tuple(passages), tuple(words), tuple(mentions))


def write_conll(
    documents: Iterable[Document], file: IO[str], *, scheme: str = "IOB2", offsets: bool = True
) -> Losses:
    """Write words and tags; what one tag a word cannot hold is counted.

    Parameters
    ----------
    documents
        Their own words are written, or those of :func:`~biolm.io.text.words.split_words`.
    file
        Open for writing.
    scheme
        Tag scheme to write.
    offsets
        Whether columns two and three hold the word's offsets.

    Returns
    -------
    What was lost: discontinuous and overlapping mentions, borders inside words, identifiers, relations.
    """
    losses = Losses("CoNLL")
    for document in documents:
        file.write(f"# doc_id = {document.name}\n")
        words = document.words or tuple(split_words(document.text))
        sentences = _sentences(document, words)
        for sentence in sentences:
            tags = encode_tags(_entities(document, sentence, losses), len(sentence), scheme)
            for (start, end), tag in zip(sentence, tags, strict=True):
                word = document.text[start:end]
                file.write(f"{word}\t{start}\t{end}\t{tag}\n" if offsets else f"{word}\t{tag}\n")
            file.write("\n")
        _count_rest(document, sentences, losses)
    return losses


def _sentences(document: Document, words: Sequence[Span]) -> list[list[Span]]:
    """Words by passage; words outside every passage follow the passage before."""
    starts = sorted({passage.start for passage in document.passages}) or [0]
    groups: list[list[Span]] = []
    at = -1
    for word in words:
        here = bisect_right(starts, word[0])
        if here != at:
            groups.append([])
            at = here
        groups[-1].append(word)
    return groups


def _entities(document: Document, words: Sequence[Span], losses: Losses) -> list[tuple[int, int, str]]:
    """Mentions of a sentence as word ranges; longer ones first where they overlap."""
    begins = {start: place for place, (start, _) in enumerate(words)}
    ends = {end: place + 1 for place, (_, end) in enumerate(words)}
    low, high = words[0][0], words[-1][1]
    here = [each for each in document.mentions if low <= each.start < high]
    taken: set[int] = set()
    spans = []
    for mention in sorted(here, key=lambda each: (each.start - each.end, each.start)):
        if not mention.whole:
            losses.add("discontinuous mention", document.name)
            continue
        first, last = begins.get(mention.start), ends.get(mention.end)
        if first is None or last is None or last <= first:
            losses.add("mention whose borders lie inside words", document.name)
        elif taken.intersection(range(first, last)):
            losses.add("overlapping mention", document.name)
        else:
            taken.update(range(first, last))
            spans.append((first, last, mention.kind))
    return spans


def _count_rest(document: Document, sentences: Sequence[Sequence[Span]], losses: Losses) -> None:
    ranges = [(sentence[0][0], sentence[-1][1]) for sentence in sentences]
    for mention in document.mentions:
        if not any(low <= mention.start < high for low, high in ranges):
            losses.add("mention outside the words", document.name)
        if mention.ids:
            losses.add("identifier", document.name)
        if mention.score is not None:
            losses.add("confidence", document.name)
    for _ in document.relations:
        losses.add("relation", document.name)
