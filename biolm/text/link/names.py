"""Mentions by a dictionary alone: the longest names first. A baseline, and a start without a tagger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from biolm.io.text.document import Document, Mention
from biolm.io.text.words import split_words
from biolm.text.link.linker import folded

__all__ = ["NameTagger"]

_LONGEST = 8


class NameTagger:
    """Finds the names of a dictionary in texts.

    Parameters
    ----------
    terms
        Type, identifier and name.
    shortest
        Fewest characters of a name that is found whatever its case; shorter ones must be written alike.

    Examples
    --------
    >>> terms = [("Disease", "MESH:D001943", "breast cancer"), ("Chemical", "MESH:D013256", "steroid")]
    >>> tagger = NameTagger(terms)
    >>> found = tagger(Document("1", "Steroids in Breast Cancer."))
    >>> [(mention.spans, mention.ids) for mention in found.mentions]
    [(((0, 8),), 'MESH:D013256'), (((12, 25),), 'MESH:D001943')]
    """

    def __init__(self, terms: Iterable[tuple[str, str, str]], *, shortest: int = 5) -> None:
        self._names: dict[str, tuple[str, str]] = {}
        self._exact: dict[str, tuple[str, str]] = {}
        for kind, identifier, name in terms:
            key = folded(name)
            # Short names are common words in other cases: they count as they are written alone.
            if len(name) >= shortest:
                self._names.setdefault(key, (kind, identifier))
            elif len(name) > 1:
                self._exact.setdefault(name, (kind, identifier))

    def __call__(self, document: Document) -> Document:
        """The document with the mentions found; its own are left out."""
        words = list(split_words(document.text))
        mentions: list[Mention] = []
        at = 0
        while at < len(words):
            end, hit = self._longest(document.text, words, at)
            if hit is not None:
                mentions.append(Mention(((words[at][0], words[end - 1][1]),), hit[0], hit[1]))
            at = end
        return replace(document, mentions=tuple(mentions), relations=())

    def _longest(
        self, text: str, words: Sequence[tuple[int, int]], at: int
    ) -> tuple[int, tuple[str, str] | None]:
        # The longest name wins: "breast cancer" is not "cancer".
        for end in range(min(at + _LONGEST, len(words)), at, -1):
            part = text[words[at][0] : words[end - 1][1]]
            hit = self._exact.get(part) or self._names.get(folded(part))
            if hit is not None and part[0].isalnum() and part[-1].isalnum():
                return end, hit
        return at + 1, None
