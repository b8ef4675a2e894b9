"""Words and sentences of running text, with their places.

A word is a run of letters and digits, or one other character that is not a blank. Invisible characters
(soft hyphen, zero-width space, byte order mark) belong to no word; they split none either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from biolm.io.text.document import Span

__all__ = ["INVISIBLE", "split_sentences", "split_words"]

INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
"""Soft hyphen, zero-width space and joiners, word joiner, byte order mark."""

_LETTERS = rf"[^\W_](?:[{INVISIBLE}]*(?:[^\W_]|[\u0300-\u036f]))*"
_WORD = re.compile(rf"{_LETTERS}|[^\s{INVISIBLE}]")
# A full stop ends a sentence before a blank and what may begin one, unless an abbreviation stands before it.
_END = re.compile(r"[.!?][\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|vs|cf|al|Fig|Figs|Dr|Mr|Mrs|Prof|St|No|Nos|approx|resp|ca|Ref|Refs|Eq|etc|sp|spp|var|subsp)"
    r"|\b[A-Z])\.$"
)


def split_words(text: str) -> Iterator[Span]:
    """Places of the words of a text.

    Examples
    --------
    >>> text = "TNF-α (10 mg/kg)"
    >>> [text[start:end] for start, end in split_words(text)]
    ['TNF', '-', 'α', '(', '10', 'mg', '/', 'kg', ')']
    """
    for match in _WORD.finditer(text):
        yield match.span()


def split_sentences(text: str) -> Iterator[Span]:
    """Places of the sentences of a text; line ends part sentences.

    Parameters
    ----------
    text
        Any.
    start, end
        Of the stretch.

    Examples
    --------
    >>> text = "We saw E. coli in vitro, e.g. Fig. 2. It grew."
    >>> [text[a:b] for a, b in split_sentences(text)]
    ['We saw E. coli in vitro, e.g. Fig. 2.', 'It grew.']
    """
    for line in re.finditer(r"[^\n]+", text):
        at, last = line.span()
        for match in _END.finditer(text, at, last):
            mark = match.start() + 1
            if _ABBREVIATION.search(text, max(at, mark - 12), mark):
                continue
            if text[at : match.end()].strip():
                yield _trimmed(text, at, match.end())
            at = match.end()
        if text[at:last].strip():
            yield _trimmed(text, at, last)


def _trimmed(text: str, start: int, end: int) -> Span:
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    return start, end
