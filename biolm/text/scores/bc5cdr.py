"""Counts of the BioCreative V chemical-disease task: mentions, identifiers, relations.

Identifiers and relations are scored as sets of a document, as the official scorer does; types that the answer
file never names are left out of gold (its disease track has answers without chemicals).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from biolm.io.text.document import Document, split_ids
from biolm.text.scores.entities import Counts

__all__ = ["CdrScores", "score_bc5cdr"]


@dataclass(frozen=True, slots=True)
class CdrScores:
    """Counts over all documents, and those of each document."""

    mention: Counts
    id: Counts
    relation: Counts
    documents: dict[str, list[Counts]]


def score_bc5cdr(gold: Sequence[Document], answer: Sequence[Document], *, relation: str = "CID") -> CdrScores:
    """Score answers against gold; a document without an answer counts as an empty one.

    Parameters
    ----------
    gold, answer
        Documents by name.
    relation
        Type of the relations.
    """
    answers = {document.name: document for document in answer}
    # The official script scores the types that the answers hold.
    kinds = {mention.kind for document in answer for mention in document.mentions}
    rows: dict[str, list[Counts]] = {"mention": [], "id": [], "relation": []}
    for document in gold:
        # The official script takes a document that is missing for one without findings.
        predicted = answers.get(document.name, Document(document.name, ""))
        for name, parts in (
            ("mention", (_mentions(document, kinds), _mentions(predicted, kinds))),
            ("id", (_ids(document, kinds), _ids(predicted, kinds))),
            ("relation", (_relations(document, relation), _relations(predicted, relation))),
        ):
            wanted, given = parts
            rows[name].append(Counts(len(wanted & given), len(given - wanted), len(wanted - given)))
    total = {name: sum(counts, Counts()) for name, counts in rows.items()}
    return CdrScores(total["mention"], total["id"], total["relation"], rows)


def _mentions(document: Document, kinds: Iterable[str]) -> set[tuple[object, ...]]:
    return {(m.start, m.end, m.kind) for m in document.mentions if m.kind in kinds}


def _ids(document: Document, kinds: Iterable[str]) -> set[tuple[str, str]]:
    return {(m.kind, each) for m in document.mentions if m.kind in kinds for each in split_ids(m.ids)}


def _relations(document: Document, kind: str) -> set[tuple[str, ...]]:
    return {tuple(value for _, value in each.arguments) for each in document.relations if each.kind == kind}
