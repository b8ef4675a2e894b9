"""Labels of a tagger, and the best allowed sequence of them.

Dimensions: ``n`` words of a text · ``k`` labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, InputError
from biolm.io.text.tags import decode_tags, split_tag

__all__ = ["LabelSet"]


@dataclass(frozen=True)
class LabelSet:
    """The tags that a tagger knows, ``O`` among them.

    Examples
    --------
    >>> labels = LabelSet.of(["Disease"])
    >>> labels.names
    ('O', 'B-Disease', 'I-Disease')
    """

    names: tuple[str, ...]
    scheme: str = "IOB2"

    @classmethod
    def of(cls, kinds: Sequence[str]) -> LabelSet:
        """IOB2 labels of some types."""
        return cls(("O", *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI")))

    @classmethod
    def named(cls, names: Sequence[str]) -> LabelSet:
        """Labels of a trained model, whatever their order.

        Raises
        ------
        CheckpointError
            If they are no tags, such as LABEL_0.
        """
        try:
            prefixes = {split_tag(name)[0] for name in names}
        except InputError as error:
            raise CheckpointError(str(error)) from error
        # Only the labels tell: checkpoints do not name their scheme.
        scheme = "BIOES" if prefixes & set("ES") else "BILOU" if prefixes & set("LU") else "IOB2"
        if "B" not in prefixes:
            scheme = "IO"
        return cls(tuple(names), scheme)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Label to number."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Types of entities, in the order of their labels."""
        return tuple(dict.fromkeys(split_tag(name)[1] for name in self.names if name != "O"))

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """``(k + 2, k + 2)`` which label may follow which; the last two rows are the begin and the end."""
        tags = [split_tag(name) for name in self.names]
        size = len(tags)
        may = np.zeros((size + 2, size + 2), bool)
        for left, (a, kind_a) in enumerate([*tags, ("O", "")]):
            for right, (b, kind_b) in enumerate([*tags, ("O", ""), ("O", "")]):
                may[left, right] = self._follows((a, kind_a), (b, kind_b))
        return may

    def _follows(self, left: tuple[str, str], right: tuple[str, str]) -> bool:
        (a, kind_a), (b, kind_b) = left, right
        if self.scheme == "IO":
            return True
        goes_on = b in "IEL"
        if self.scheme == "IOB2":
            return not goes_on or (a in "BI" and kind_a == kind_b)
        opened = a in "BI"
        return opened == goes_on and (not opened or kind_a == kind_b)

    def decode(self, scores: NDArray[np.float64]) -> list[int]:
        """The most probable sequence of labels in which each may follow the one before (Viterbi).

        Parameters
        ----------
        scores
            ``(n, k)`` log-probabilities of each word.
        """
        size = len(self.names)
        if not len(scores):
            return []
        # An I without its B is impossible, not just unlikely.
        barred = np.where(self.allowed, 0.0, -np.inf)
        best = scores[0] + barred[size, :size]
        back = np.zeros((len(scores), size), np.int64)
        for place in range(1, len(scores)):
            ways = best[:, None] + barred[:size, :size]
            back[place] = ways.argmax(0)
            best = ways.max(0) + scores[place]
        # In BIOES an entity must also be closed at the end.
        best = best + barred[:size, size + 1]
        path = [int(best.argmax())]
        for place in range(len(scores) - 1, 0, -1):
            path.append(int(back[place, path[-1]]))
        return path[::-1]

    def entities(
        self, scores: NDArray[np.float64], breaks: Sequence[int] = ()
    ) -> list[tuple[int, int, str, float]]:
        """Entities as word ranges with their confidence, the mean probability of their words' labels.

        Parameters
        ----------
        scores
            ``(n, k)`` log-probabilities.
        breaks
            Words at which a new passage begins; no entity goes over one.
        """
        entities = []
        # An entity does not run from a title into the abstract.
        edges = [0, *(place for place in breaks if 0 < place < len(scores)), len(scores)]
        for low, high in pairwise(edges):
            path = self.decode(scores[low:high])
            tags = [self.names[number] for number in path]
            chosen = np.exp(scores[low:high][np.arange(high - low), path])
            for first, last, kind in decode_tags(tags, self.scheme):
                entities.append((low + first, low + last, kind, float(chosen[first:last].mean())))
        return entities
