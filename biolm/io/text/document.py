"""The one document type: text, passages, words, mentions, relations.

All places are Unicode code points of the document's text, ``[start, end)``, whatever a file counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document", "Mention", "Passage", "Relation", "Span", "joined", "normalise_ids", "split_ids"]

Span = tuple[int, int]
"""``(start, end)`` in code points, the end not included."""

_MESH = re.compile(r"[CD]\d{6,9}")


def normalise_ids(ids: str) -> str:
    """Identifiers as biolm writes them: no blanks, bare MeSH ids with their prefix, ``-1`` as none.

    Composites keep their ``|`` (one of, or each of) and ``+`` (together).

    Examples
    --------
    >>> normalise_ids(" D003924 | MESH:D006973"), normalise_ids("C536830+D001943"), normalise_ids("-1")
    ('MESH:D003924|MESH:D006973', 'MESH:C536830+MESH:D001943', '')
    """
    parts = [part.strip() for part in re.split(r"([|+,])", ids)]
    clean = [f"MESH:{part}" if _MESH.fullmatch(part) else part for part in parts]
    # PubTator writes -1 for a mention that nobody could link.
    clean = ["|" if part == "," else "" if part == "-1" else part for part in clean]
    return "".join(clean).strip("|+")


def split_ids(ids: str) -> tuple[str, ...]:
    """The single identifiers of a composite.

    Examples
    --------
    >>> split_ids("MESH:D003924|MESH:D006973")
    ('MESH:D003924', 'MESH:D006973')
    """
    return tuple(part for part in re.split(r"[|+]", ids) if part)


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document: its title, its abstract, a section, a sentence."""

    start: int
    end: int
    kind: str = ""


def joined(parts: Iterable[tuple[str, str]]) -> tuple[str, tuple[Passage, ...]]:
    """A text of parts with a line end between two, and their passages; empty parts are left out.

    Parameters
    ----------
    parts
        Kind and text of each.

    Examples
    --------
    >>> joined([("title", "On genes"), ("abstract", "")])
    ('On genes', (Passage(start=0, end=8, kind='title'),))
    """
    text, passages = "", []
    for kind, part in parts:
        if part:
            text += "\n" if text else ""
            passages.append(Passage(len(text), len(text) + len(part), kind))
            text += part
    return text, tuple(passages)


@dataclass(frozen=True, slots=True)
class Mention:
    """One mention of an entity.

    Parameters
    ----------
    spans
        Pieces of text that make up the mention, in order; more than one where it is discontinuous.
    kind
        Type of the entity, such as ``Disease``.
    ids
        Identifiers, as :func:`normalise_ids` gives them; empty where the mention is not linked.
    name
        The file's name of the mention (``T1``); relations may refer to it.
    score
        Confidence in [0, 1]; None where nobody gave one.
    note
        Free text of the file, such as the parts of a composite mention.

    Examples
    --------
    >>> mention = Mention(((15, 21), (34, 41)), "Disease", "MESH:D001943")
    >>> mention.start, mention.end
    (15, 41)
    """

    spans: tuple[Span, ...]
    kind: str
    ids: str = ""
    name: str = ""
    score: float | None = None
    note: str = ""

    @property
    def start(self) -> int:
        """First code point."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Behind the last code point."""
        return max(end for _, end in self.spans)

    @property
    def whole(self) -> bool:
        """Whether it is one stretch of text."""
        return len(self.spans) == 1


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation between identifiers or between mentions.

    Parameters
    ----------
    kind
        Type, such as ``CID`` (chemical-induced disease).
    arguments
        Pairs of a role and what takes it: an identifier, or the name of a mention of the document.
    score
        Confidence; None where nobody gave one.
    """

    kind: str
    arguments: tuple[tuple[str, str], ...]
    score: float | None = None


@dataclass(frozen=True)
class Document:
    """A text with everything that is known about it.

    Parameters
    ----------
    name
        PMID, file name or number.
    text
        The whole text; passages are stretches of it.
    passages
        In the order of the text.
    words
        Words as a tokenised file gave them; empty where the file had none.
    mentions, relations
        What the text is annotated with.
    metadata
        Plain values: year, journal, MeSH terms, section labels ...

    Examples
    --------
    >>> document = Document("1", "Aspirin causes ulcers.", mentions=(Mention(((0, 7),), "Chemical"),))
    >>> document.covered(document.mentions[0])
    'Aspirin'
    """

    name: str
    text: str
    passages: tuple[Passage, ...] = ()
    words: tuple[Span, ...] = ()
    mentions: tuple[Mention, ...] = ()
    relations: tuple[Relation, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def covered(self, mention: Mention | Passage) -> str:
        """The text of a mention or passage; pieces of a discontinuous mention are joined by a blank."""
        if isinstance(mention, Passage):
            return self.text[mention.start : mention.end]
        return " ".join(self.text[start:end] for start, end in mention.spans)

    @property
    def title(self) -> str:
        """Text of the first passage named a title; empty where there is none."""
        passage = next((part for part in self.passages if part.kind.lower() == "title"), None)
        return "" if passage is None else self.covered(passage).rstrip("\n")

    @property
    def body(self) -> str:
        """Text without the title."""
        title = next((part for part in self.passages if part.kind.lower() == "title"), None)
        return self.text if title is None else self.text[title.end :].lstrip("\n ")
