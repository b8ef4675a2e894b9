"""Abbreviations and their long forms: ``long form (SF)``, by the algorithm of Schwartz and Hearst (2003)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from biolm.io.text.document import Span

__all__ = ["Abbreviation", "find_abbreviations", "long_forms"]

_BRACKET = re.compile(r"\(([^()]{1,60})\)")


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """A short form with the long form that stands before or behind it, both with their places."""

    short: str
    long: str
    short_span: Span
    long_span: Span


def find_abbreviations(text: str) -> Iterator[Abbreviation]:
    """Definitions in a text, from left to right.

    Examples
    --------
    >>> [(a.short, a.long) for a in find_abbreviations("Patients with multiple sclerosis (MS) were seen.")]
    [('MS', 'multiple sclerosis')]
    """
    for match in _BRACKET.finditer(text):
        inside = match[1].split(";")[0].split(",")[0].strip()
        start = match.start(1) + match[1].find(inside)
        if _is_short(inside):
            stretch = _before(text, match.start(), inside)
            place = _match(inside, text, stretch)
            if place is not None:
                yield Abbreviation(
                    inside, text[place : stretch[1]], (start, start + len(inside)), (place, stretch[1])
                )
                continue
        # The other way round: SF (long form).
        word = re.search(r"(\S+)\s*$", text[max(0, match.start() - 14) : match.start()])
        if word is not None and _is_short(word[1]) and " " in inside:
            place = _match(word[1], text, (start, start + len(inside)))
            if place == start:
                at = max(0, match.start() - 14) + word.start(1)
                yield Abbreviation(word[1], inside, (at, at + len(word[1])), (start, start + len(inside)))


def _is_short(form: str) -> bool:
    """Two to ten characters, at most two words, a letter among them, a letter or digit first."""
    return (
        2 <= len(form) <= 10
        and form.count(" ") <= 1
        and any(letter.isalpha() for letter in form)
        and form[0].isalnum()
        and any(letter.isupper() or letter.isdigit() for letter in form)
    )


def _before(text: str, end: int, short: str) -> Span:
    """At most ``min(n + 5, 2 n)`` words before a bracket, within the sentence."""
    # The bound of Schwartz and Hearst (2003).
    most = min(len(short) + 5, 2 * len(short))
    while end > 0 and text[end - 1].isspace():
        end -= 1
    # A long form does not reach over the border of a sentence.
    low = max(text.rfind(". ", 0, end) + 1, text.rfind("\n", 0, end) + 1, text.rfind(";", 0, end) + 1, 0)
    words = list(re.finditer(r"\S+", text[low:end]))[-most:]
    return (low + words[0].start() if words else end), end


def _match(short: str, text: str, stretch: Span) -> int | None:
    """Start of the shortest long form with the letters of the short one in order, the first at a word."""
    low, at = stretch[0], stretch[1] - 1
    for number in range(len(short) - 1, -1, -1):
        letter = short[number].lower()
        if not letter.isalnum():
            continue
        while at >= low and (
            text[at].lower() != letter or (number == 0 and at > low and text[at - 1].isalnum())
        ):
            at -= 1
        if at < low:
            return None
        at -= 1
    start = at + 1
    long = text[start : stretch[1]]
    # A long form that holds the short one as a word explains nothing (Schwartz and Hearst 2003).
    if len(long) <= len(short) or short.lower() in long.lower().split():
        return None
    return start


def long_forms(text: str) -> dict[str, str]:
    """Long form of each short form of a text; the first definition counts."""
    forms: dict[str, str] = {}
    for each in find_abbreviations(text):
        # Papers define a short form once, at its first use.
        forms.setdefault(each.short, each.long)
    return forms
