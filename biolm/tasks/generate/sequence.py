"""One sequence that a model made, and what is known of it.

Dimensions: ``k`` tokens that were generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GeneratedSequence", "Unit"]


@dataclass(frozen=True, slots=True)
class Unit:
    """Which sequence is to be made: the ``copy``-th of a prompt, in a direction.

    Parameters
    ----------
    row
        Of the prompt.
    direction
        ``forward`` or ``backward``.
    copy
        From 0.
    """

    row: int
    direction: str
    copy: int

    def number(self, prompts: int) -> int:
        """What its draws belong to: the first copies stay the same when more are asked for."""
        return self.copy * prompts + self.row


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedSequence:
    """A sequence, prompt included, in reading order.

    Parameters
    ----------
    name
        Prompt's name and a number.
    sequence
        Letters.
    prompt
        Name of the prompt.
    generated
        Letters that the model wrote.
    log_probabilities
        ``(k,)`` natural log-probability of each token that it wrote, in the order it wrote them, a terminator
        last: under the model itself, at temperature 1 over all its tokens. Of a filled template, that of each
        place given all the rest.
    end
        ``terminator``, ``length`` (cut at the most that was allowed) or ``template`` (filled in).
    direction
        ``forward`` or ``backward``.
    duplicate_of
        Name of the first sequence with the same letters; '' for none.
    nearest, identity
        Name of the nearest record of the reference, '' if none shares a k-mer, and the fraction of this
        sequence's letters that are the same there; None without a reference.
    """

    name: str
    sequence: str
    prompt: str
    generated: int
    log_probabilities: NDArray[np.float64]
    end: str
    direction: str = "forward"
    duplicate_of: str = ""
    nearest: str | None = None
    identity: float | None = None

    @property
    def log_likelihood(self) -> float:
        """Sum of ``log_probabilities``; a pseudo-log-likelihood where a template was filled."""
        return float(self.log_probabilities.sum())

    @property
    def per_residue(self) -> float:
        """Log-likelihood by letter that the model wrote; NaN where it wrote none."""
        return self.log_likelihood / self.generated if self.generated else float("nan")

    def description(self, near: float = 0.9) -> str:
        """The words of the header after the name; ``near`` is the identity from which on it is a copy."""
        entries: dict[str, Any] = {
            "log_likelihood": f"{self.log_likelihood:.4f}",
            "per_residue": f"{self.per_residue:.4f}",
            "length": len(self.sequence),
            "made": self.generated,
            "end": self.end,
        }
        if self.direction != "forward":
            entries["direction"] = self.direction
        if self.duplicate_of:
            entries["duplicate_of"] = self.duplicate_of
        # None where no reference was given; a reference without a likeness is "none" at identity 0.
        if self.nearest is not None and self.identity is not None:
            entries |= {"nearest": self.nearest or "none", "identity": f"{self.identity:.3f}"}
            if self.identity >= near:
                entries["copy"] = "yes"
        return " ".join(f"{key}={value}" for key, value in entries.items())
