"""Identifiers of mentions: by name, then by the nearest name of a dictionary; doubt is kept, not settled.

Dimensions: ``n`` names of the dictionary · ``d`` width of a vector.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.text.document import Document, Mention
from biolm.text.link.abbreviations import long_forms

if TYPE_CHECKING:
    from biolm.text.embed import TextEncoder

__all__ = ["Candidate", "LinkReport", "Linker", "folded", "gene_names", "trained_names"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An identifier with how it was found: ``name``, ``alias``, ``similar``, and the cosine of the latter."""

    id: str
    how: str
    score: float = 1.0


@dataclass(slots=True)
class LinkReport:
    """What became of the mentions."""

    mentions: int = 0
    linked: int = 0
    ambiguous: int = 0
    expanded: int = 0

    def __str__(self) -> str:
        return (
            f"{self.mentions:,} mentions: {self.linked:,} linked, of them {self.expanded:,} by their long "
            f"form; {self.ambiguous:,} ambiguous, kept as candidates; "
            f"{self.mentions - self.linked - self.ambiguous:,} unlinked"
        )


def folded(name: str) -> str:
    """A name without case, punctuation, plural s and order of what a comma parts.

    Examples
    --------
    >>> folded("Tumours, Breast"), folded("breast tumour"), folded("IL-1β")
    ('breast tumour', 'breast tumour', 'il 1 beta')
    """
    greek = {"α": " alpha ", "β": " beta ", "γ": " gamma ", "δ": " delta ", "κ": " kappa "}
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(greek.get(letter, letter) for letter in text)
    # Dictionaries write "Anemia, Aplastic", texts "aplastic anemia".
    if text.count(",") == 1:
        head, tail = text.split(",")
        text = f"{tail} {head}"
    words = re.findall(r"[^\W_]+", text)
    return " ".join(_singular(word) for word in words)


def _singular(word: str) -> str:
    # virus, abscess and sepsis are no plurals.
    if len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@dataclass(eq=False)
class Linker:
    """A dictionary of names, with an encoder for what no name matches.

    Parameters
    ----------
    terms
        Pairs of identifier and name.
    encoder
        Finds the nearest name where none matches; None to leave such mentions unlinked.
    least
        Least cosine of such a name.

    Raises
    ------
    InputError
        If there are no terms.

    Examples
    --------
    >>> linker = Linker([("MESH:D001943", "breast cancer"), ("1", "MS"), ("2", "MS")])
    >>> linker.candidates("Breast Cancers"), [each.id for each in linker.candidates("MS")]
    ([Candidate(id='MESH:D001943', how='name', score=1.0)], ['1', '2'])
    """

    terms: Iterable[tuple[str, str]]
    encoder: TextEncoder | None = None
    least: float = 0.75
    _exact: dict[str, list[str]] = field(default_factory=dict, repr=False)
    _folded: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ConfigError(f"the least cosine must lie above 0 and at most at 1, not {self.least}")
        self._names: list[tuple[str, str]] = []
        for identifier, name in self.terms:
            self._names.append((identifier, name))
            for table, key in ((self._exact, name), (self._folded, folded(name))):
                entries = table.setdefault(key, [])
                # A dictionary repeats names among its synonyms; a repeat is no second candidate.
                if identifier not in entries:
                    entries.append(identifier)
        if not self._names:
            raise InputError("the dictionary holds no names")
        self._vectors: NDArray[np.float32] | None = None
        self._known: dict[str, list[Candidate]] = {}

    def candidates(self, name: str, most: int = 5) -> list[Candidate]:
        """Identifiers that a name may mean, the best first; several of one way to be found are a doubt.

        Parameters
        ----------
        name
            As it is written in a text.
        most
            How many at most.
        """
        if name not in self._known:
            self._known[name] = self._find(name, most)
        return self._known[name]

    def _find(self, name: str, most: int) -> list[Candidate]:
        exact = self._exact.get(name)
        if exact:
            return [Candidate(each, "name") for each in exact[:most]]
        candidates = self._folded.get(folded(name)) if folded(name) else None
        if candidates:
            return [Candidate(each, "name") for each in candidates[:most]]
        return self._similar(name, most) if self.encoder is not None else []

    def _similar(self, name: str, most: int) -> list[Candidate]:
        from biolm.text.embed import embed_texts, nearest_texts

        assert self.encoder is not None
        if self._vectors is None:
            # Only when the first name matches none: most runs never need the vectors.
            self._vectors = embed_texts(self.encoder, [each.lower() for _, each in self._names])
        query = embed_texts(self.encoder, [name.lower()])
        # More than asked for, since an identifier has several names.
        rows, cosines = nearest_texts(query, self._vectors, k=4 * most)
        similar: dict[str, float] = {}
        for row, cosine in zip(rows[0].tolist(), cosines[0].tolist(), strict=True):
            if cosine >= self.least:
                similar.setdefault(self._names[row][0], cosine)
        return [Candidate(identifier, "similar", score) for identifier, score in list(similar.items())[:most]]

    def link(
        self, document: Document, report: LinkReport | None = None, *, kind: str | None = None
    ) -> Document:
        """The document with identifiers; those that several match alike are joined by ``|`` and noted.

        A mention that is an abbreviation of the text is looked up by its long form first.

        Parameters
        ----------
        document
            With mentions, whose own identifiers are replaced.
        report
            Counts what became of them.
        kind
            Type of the mentions to link; all by default, others stay as they are.
        """
        report = LinkReport() if report is None else report
        forms = long_forms(document.text)
        mentions = tuple(
            self._linked(document, mention, forms, report) if kind in (None, mention.kind) else mention
            for mention in document.mentions
        )
        return replace(document, mentions=mentions)

    def _linked(
        self, document: Document, mention: Mention, forms: dict[str, str], report: LinkReport
    ) -> Mention:
        report.mentions += 1
        name = document.covered(mention)
        long = forms.get(name)
        # The long form first: short forms mean different things in different papers.
        candidates = self.candidates(long) if long else []
        report.expanded += bool(candidates)
        candidates = candidates or self.candidates(name)
        if not candidates:
            return replace(mention, ids="")
        named = [each for each in candidates if each.how != "similar"]
        if len(named) > 1:
            report.ambiguous += 1
            return replace(mention, ids="|".join(each.id for each in named), note="ambiguous")
        report.linked += 1
        return replace(mention, ids=candidates[0].id)


def trained_names(documents: Sequence[Document], kinds: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Names and identifiers of annotated documents, as terms of a dictionary; the most frequent id of a name.

    Long forms that a document gives an annotated abbreviation are names too.

    Parameters
    ----------
    documents
        With identifiers.
    kinds
        Of the entities; all if None.
    """
    counts: dict[str, dict[str, int]] = {}
    for document in documents:
        forms = long_forms(document.text)
        for mention in document.mentions:
            if mention.ids and (kinds is None or mention.kind in kinds):
                name = document.covered(mention)
                # The long form is learnt with the short one: other papers spell it out.
                for each in {name, forms.get(name, name)}:
                    ids = counts.setdefault(each, {})
                    ids[mention.ids] = ids.get(mention.ids, 0) + 1
    # Sorted first, so that of equally frequent ids the same one wins every time.
    return [(max(sorted(ids), key=ids.__getitem__), name) for name, ids in counts.items()]


def gene_names(species: str = "human") -> list[tuple[str, str]]:
    """Symbols and old symbols of the gene table as terms; an alias of several genes stands once for each."""
    from biolm.vocab.gene_table import gene_table

    genes = gene_table().species(species)
    terms = []
    for symbol, ids in genes.ids.items():
        current = [each for each in ids if each not in genes.retired] or list(ids)
        # Genes of alternative assemblies repeat the symbols of the main one.
        main = [each for each in current if each in genes.main]
        terms += [(each, symbol) for each in main or current]
    terms += [(ensembl, alias) for alias, ensembl in genes.aliases.items()]
    terms += [(ensembl, alias) for alias, ids in genes.ambiguous.items() for ensembl in ids]
    return terms
