"""What a format could not hold, counted and named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Losses"]


@dataclass(slots=True)
class Losses:
    """Counts of what was left out when a file was written.

    Examples
    --------
    >>> losses = Losses("CoNLL")
    >>> losses.add("relation", "1234")
    >>> str(losses)
    'CoNLL cannot hold: 1 relation (first in document 1234)'
    >>> bool(Losses("BioC"))
    False
    """

    format: str
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, document: str) -> None:
        """Count one thing of a document.

        Parameters
        ----------
        what
            What the format cannot hold, such as ``nested mentions``.
        document
            Its name, for the report.
        """
        self.counts[what] += 1
        self.first.setdefault(what, document)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        if not self.counts:
            return f"{self.format} holds everything"
        parts = [
            f"{count:,} {what}{'' if count == 1 else 's'} (first in document {self.first[what]})"
            for what, count in sorted(self.counts.items())
        ]
        return f"{self.format} cannot hold: {'; '.join(parts)}"
