"""Entity scores: a mention is right if its spans and its type are, and nothing less (strict)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from biolm.errors import InputError
from biolm.io.text.document import Document

__all__ = ["Counts", "EntityScores", "entity_scores", "pair_documents"]


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives, false negatives.

    Examples
    --------
    >>> counts = Counts(3, 1, 2)
    >>> counts.precision, counts.recall, round(counts.f1, 3)
    (0.75, 0.6, 0.667)
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """Fraction of what was found that is right; 0 where nothing was."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0

    @property
    def recall(self) -> float:
        """Fraction of what is there that was found."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        whole = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class EntityScores:
    """Counts over all documents, by type and by document."""

    total: Counts
    kinds: dict[str, Counts]
    documents: list[Counts] = field(repr=False)

    @property
    def f1(self) -> float:
        """Micro F1."""
        return self.total.f1

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the types."""
        return float(np.mean([counts.f1 for counts in self.kinds.values()])) if self.kinds else 0.0


def pair_documents(
    gold: Sequence[Document], predicted: Iterable[Document]
) -> list[tuple[Document, Document]]:
    """Documents of both sides by name, in gold's order.

    Parameters
    ----------
    gold, predicted
        Documents of both sides.

    Raises
    ------
    InputError
        If the found documents do not cover gold, have other texts, or a name stands twice.
    """
    names = Counter(document.name for document in gold)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise InputError(f"document {twice[0]} stands {names[twice[0]]} times in the gold file; take one out")
    by_name: dict[str, Document] = {}
    for document in predicted:
        if document.name in by_name:
            raise InputError(f"document {document.name} stands twice among the predictions; take one out")
        by_name[document.name] = document
    missing = [name for name in names if name not in by_name]
    if missing:
        raise InputError(
            f"the predictions lack {len(missing):,} of {len(names):,} documents of the test set, first "
            f"{missing[0]}"
        )
    pairs = [(document, by_name[document.name]) for document in gold]
    for left, right in pairs:
        # Spans are places in a text; those of another text would match by accident.
        if left.text != right.text:
            raise InputError(f"document {left.name} has another text among the predictions than in gold")
    return pairs


def entity_scores(
    gold: Sequence[Document], predicted: Sequence[Document], *, kinds: Sequence[str] | None = None
) -> EntityScores:
    """Strict micro scores over documents in the same order.

    Parameters
    ----------
    gold, predicted
        As :func:`pair_documents` orders them.
    kinds
        Types to score; all by default.

    Examples
    --------
    >>> from biolm.io.text.document import Mention
    >>> def text(*spans):
    ...     return Document("1", "a b c d", mentions=tuple(Mention((span,), "X") for span in spans))
    >>> entity_scores([text((0, 3), (4, 5))], [text((0, 3), (4, 7))]).total
    Counts(tp=1, fp=1, fn=1)
    """
    rows: list[Counts] = []
    by_kind: dict[str, Counts] = {}
    for left, right in zip(gold, predicted, strict=True):
        wanted, given = (
            # Counted, since a mention that is given twice is right once.
            Counter((m.kind, m.spans) for m in document.mentions if kinds is None or m.kind in kinds)
            for document in (left, right)
        )
        total = Counts()
        for kind in {key[0] for key in (*wanted, *given)}:
            w = Counter({key: n for key, n in wanted.items() if key[0] == kind})
            g = Counter({key: n for key, n in given.items() if key[0] == kind})
            right_ones = (w & g).total()
            counts = Counts(right_ones, g.total() - right_ones, w.total() - right_ones)
            by_kind[kind] = by_kind.get(kind, Counts()) + counts
            total = total + counts
        rows.append(total)
    return EntityScores(sum(rows, Counts()), dict(sorted(by_kind.items())), rows)
