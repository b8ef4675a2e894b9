"""Entities as conlleval and seqeval's default read tags: an ``I-`` that continues nothing begins one.

Named lenient because ``I-X I-X`` then counts as right against ``B-X I-X``. For comparison with papers only.
"""

from __future__ import annotations

from collections.abc import Sequence

from biolm.io.text.tags import Entity, split_tag
from biolm.text.scores.entities import Counts

__all__ = ["lenient_counts", "lenient_entities"]


def lenient_entities(tags: Sequence[str]) -> list[Entity]:
    """Entities of a sentence by the rules of conlleval.

    Examples
    --------
    >>> lenient_entities(["I-X", "I-X", "O", "B-X", "B-X"])
    [(0, 2, 'X'), (3, 4, 'X'), (4, 5, 'X')]
    """
    entities: list[Entity] = []
    start, before, kind = -1, "O", ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, name = split_tag(tag)
        # An I- without a B- begins an entity here, which strict scoring refuses.
        breaks = prefix in "OBSU" or before in "ESLUO" or name != kind
        if start >= 0 and breaks:
            entities.append((start, place, kind))
            start = -1
        if prefix != "O" and start < 0:
            start = place
        before, kind = prefix, name
    return entities


def lenient_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Counts:
    """Counts over sentences of tags.

    Parameters
    ----------
    gold, predicted
        Tags of each sentence.

    Examples
    --------
    >>> lenient_counts([["B-X", "I-X"]], [["I-X", "I-X"]])
    Counts(tp=1, fp=0, fn=0)
    """
    total = Counts()
    for left, right in zip(gold, predicted, strict=True):
        a, b = set(lenient_entities(left)), set(lenient_entities(right))
        total = total + Counts(len(a & b), len(b - a), len(a - b))
    return total
