"""Documents as a file states them, and how their offsets become code points of one text.

A file counts in one unit throughout. Which one is found over the whole file: code points where every mention
fits, else UTF-8 bytes, UTF-16 units, line ends of two characters, places in the passage, or a text whose
passages touch. Single mentions that do not fit follow the policy of the reader.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.text.document import Document, Mention, Passage, Relation, Span, normalise_ids

__all__ = [
    "MOST_BLANK",
    "Policy",
    "RawDocument",
    "RawMention",
    "RawPassage",
    "ReadReport",
    "same_text",
    "settle",
]

Policy = Literal["error", "skip", "keep"]
MOST_BLANK = 1_000_000
"""Characters that offsets may leave open between two pieces of a text."""
_GREEK = {"α": "a", "β": "b", "γ": "g", "δ": "d", "ε": "e", "κ": "k", "λ": "l", "μ": "u", "ω": "o", "ς": "σ"}
_NAMES = {
    "alpha": "a",
    "beta": "b",
    "gamma": "g",
    "delta": "d",
    "epsilon": "e",
    "kappa": "k",
    "lambda": "l",
    "omega": "o",
}


@dataclass(frozen=True, slots=True)
class RawPassage:
    """A passage with the offset that the file states; None where it states none."""

    text: str
    kind: str = ""
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class RawMention:
    """A mention with the spans and the text that the file states."""

    spans: tuple[Span, ...]
    text: str | None
    kind: str
    ids: str = ""
    name: str = ""
    score: float | None = None
    note: str = ""
    passage: int = 0
    line: int = 0


@dataclass(slots=True)
class RawDocument:
    """One document as a file states it; ``where`` names its place for messages."""

    name: str
    passages: list[RawPassage]
    mentions: list[RawMention] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    metadata: dict[str, object] = field(default_factory=dict)
    where: str = ""
    text: str | None = None


@dataclass(slots=True)
class ReadReport:
    """What was read, and what did not fit."""

    documents: int = 0
    mentions: int = 0
    unit: str = "code points"
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        unit = "" if self.unit == "code points" else f"; offsets of the whole file are {self.unit}, converted"
        rest = "".join(f"; {count:,} {what}" for what, count in sorted(self.counts.items()) if count)
        return f"{self.documents:,} documents, {self.mentions:,} mentions{unit}{rest}"


def _ones(text: str) -> NDArray[np.int64]:
    return np.ones(len(text), np.int64)


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _bytes(text: str) -> NDArray[np.int64]:
    codes = _codes(text)
    more = sum((codes > limit).astype(np.int64) for limit in (0x7F, 0x7FF, 0xFFFF))
    widths: NDArray[np.int64] = np.asarray(1 + more, np.int64)
    return widths


def _utf16(text: str) -> NDArray[np.int64]:
    widths: NDArray[np.int64] = 1 + (_codes(text) > 0xFFFF).astype(np.int64)
    return widths


def _crlf(text: str) -> NDArray[np.int64]:
    widths: NDArray[np.int64] = 1 + (_codes(text) == 10).astype(np.int64)
    return widths


@dataclass(frozen=True, slots=True)
class _Unit:
    name: str
    width: Callable[[str], NDArray[np.int64]] = _ones
    relative: bool = False
    touching: bool = False


_UNITS = (
    _Unit("code points"),
    _Unit("UTF-8 bytes", _bytes),
    _Unit("UTF-16 units", _utf16),
    _Unit("code points with line ends of two characters", _crlf),
    _Unit("places in the passage", relative=True),
    _Unit("code points of a text whose passages touch", touching=True),
)


def same_text(stated: str, own: str) -> bool:
    """Whether a stated mention text is the document's own, up to case, blanks and spelled Greek letters.

    Parameters
    ----------
    stated
        By the file.
    own
        Of the document.

    Examples
    --------
    >>> same_text("TNF-a", "TNF-α"), same_text("Breast [...] Cancers", "Breast Cancers")
    (True, True)
    >>> same_text("ulcer", "ulcers")
    False
    """
    return stated == own or _folded(stated) == _folded(own)


def _folded(text: str) -> str:
    # Corpora state mentions in another spelling than the text: ligatures, Greek, widths.
    text = unicodedata.normalize("NFKC", text).casefold().replace("[...]", " ").replace("...", " ")
    text = "".join(_GREEK.get(letter, letter) for letter in text)
    text = re.sub("|".join(_NAMES), lambda match: _NAMES[match[0]], text)
    return "".join(text.split())


class _Placed:
    """A document's text and passages under one unit; None of them where the unit cannot be."""

    def __init__(self, raw: RawDocument, unit: _Unit) -> None:
        self.unit = unit
        text = ""
        self.passages: list[Passage] = []
        self.bases: list[int] = []
        self.fits = True
        used = 0
        for number, part in enumerate(raw.passages):
            stated = part.offset
            if stated is None or (unit.relative and stated < used and number):
                gap = 1 if number else 0
            else:
                gap = stated - used
                if gap < 0:
                    self.fits, gap = False, 1
            if gap > MOST_BLANK:
                raise InputError(
                    f"{raw.where}: a passage begins {gap:,} characters behind the last; fix its offset"
                )
            text += "\n" * gap
            self.bases.append(used + gap)
            used += gap + int(unit.width(part.text).sum())
            self.passages.append(Passage(len(text), len(text) + len(part.text), part.kind))
            text += part.text
        self.text = text if raw.text is None else raw.text
        self.ends = np.concatenate([[0], np.cumsum(unit.width(self.text))])

    def place(self, mention: RawMention) -> tuple[Span, ...] | None:
        """Spans in code points; None where the unit has no such places."""
        spans = []
        for start, end in mention.spans:
            shift = 0
            if self.unit.relative and self.bases:
                shift = self.bases[min(mention.passage, len(self.bases) - 1)]
            elif self.unit.touching:
                shift = sum(
                    part.start - number <= start for number, part in enumerate(self.passages) if number
                )
            low, high = (int(np.searchsorted(self.ends, value + shift)) for value in (start, end))
            inside = high < len(self.ends) and 0 <= low < high
            if not inside or self.ends[low] != start + shift or self.ends[high] != end + shift:
                return None
            spans.append((low, high))
        return tuple(spans)

    def agrees(self, mention: RawMention) -> bool:
        """Whether a mention's places hold its stated text."""
        spans = self.place(mention)
        if spans is None:
            return False
        return mention.text is None or same_text(mention.text, " ".join(self.text[a:b] for a, b in spans))


def settle(
    raws: Callable[[], Iterator[RawDocument]], report: ReadReport, *, on_mismatch: Policy = "error"
) -> Iterator[Document]:
    """Documents with every mention checked; the file is gone through twice, first for its unit.

    Parameters
    ----------
    raws
        Begins to read the file anew.
    report
        Counts what was read.
    on_mismatch
        ``error`` stops, ``skip`` leaves the mention out, ``keep`` trusts its offsets.

    Raises
    ------
    InputError
        For a mention that does not fit, with ``error``.
    """
    unit = _unit_of(raws)
    report.unit = unit.name
    for raw in raws():
        placed = _Placed(raw, unit)
        if not placed.fits:
            raise InputError(f"{raw.where}: passage offsets overlap; correct them")
        mentions = []
        for number, mention in enumerate(raw.mentions):
            spans = _checked(raw, placed, mention, report, on_mismatch)
            if spans is not None:
                name = mention.name or f"T{number + 1}"
                ids = normalise_ids(mention.ids)
                mentions.append(Mention(spans, mention.kind, ids, name, mention.score, mention.note))
        mentions.sort(key=lambda each: each.spans)
        report.documents += 1
        report.mentions += len(mentions)
        yield Document(
            raw.name,
            placed.text,
            tuple(placed.passages),
            mentions=tuple(mentions),
            relations=tuple(raw.relations),
            metadata=raw.metadata,
        )


def _unit_of(raws: Callable[[], Iterator[RawDocument]]) -> _Unit:
    """The first unit that every mention of the file fits; code points where none does."""
    left = list(_UNITS)
    for raw in raws():
        # Says nothing about the unit.
        if not raw.mentions and len(raw.passages) < 2:
            continue
        kept = []
        for unit in left:
            placed = _Placed(raw, unit)
            if placed.fits and all(placed.agrees(mention) for mention in raw.mentions):
                kept.append(unit)
        left = kept
        if not left:
            # Then the mismatches are reported as such, one by one.
            return _UNITS[0]
    return left[0]


def _checked(
    raw: RawDocument, placed: _Placed, mention: RawMention, report: ReadReport, policy: Policy
) -> tuple[Span, ...] | None:
    spans = placed.place(mention)
    if spans is not None:
        own = " ".join(placed.text[start:end] for start, end in spans)
        if mention.text is None or mention.text == own:
            return spans
        if same_text(mention.text, own):
            report.counts["mentions spelled otherwise in the file, the document's own text kept"] += 1
            return spans
        what = f"the text there is {own[:60]!r}"
    else:
        what = "that lies outside the text" if not mention.text else "there is no such place in the text"
    if policy == "error":
        at = "; ".join(f"{start} {end}" for start, end in mention.spans)
        line = f", line {mention.line}" if mention.line else ""
        raise InputError(
            f"{raw.where}{line}: mention {mention.text!r} is said to lie at {at}, but {what}; "
            'correct it, or skip or keep it (`on_mismatch="skip"`)'
        )
    if policy == "keep" and spans is not None:
        report.counts["mentions that do not fit, kept"] += 1
        return spans
    report.counts["mentions that do not fit, left out"] += 1
    return None
