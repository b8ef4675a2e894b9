"""What a classifier on frozen vectors learns from.

Dimensions: ``n`` rows · ``d`` width · ``m`` genes or k-mers · ``c`` classes · ``w`` width of factor space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.annotate.expression import Components, components_of

__all__ = ["Points"]


@dataclass(frozen=True, eq=False)
class Points:
    """What a frozen classifier learns from.

    Parameters
    ----------
    vectors
        ``(n, d)`` float32.
    table
        Sparse float32 ``(n, m)`` log-normalised expression.
    codes
        ``(n,)`` classes; or the numbers to learn.
    n_classes
        ``c``.
    batches
        ``(n,)`` names that no fold tears apart; None where there are none.
    copies
        ``(n,)`` cells with the same counts share a number (:func:`biolm.scoring.splits.copies_of`).
    factors
        ``(n, w)`` float32 vectors in which novel cells are looked for; None where there are none.
    """

    vectors: NDArray[np.float32]
    table: Any
    codes: NDArray[Any]
    n_classes: int
    batches: NDArray[np.str_] | None
    copies: NDArray[np.int64]
    factors: NDArray[np.float32] | None = None

    @cached_property
    def components(self) -> Components:
        """Principal components of the table."""
        return components_of(self.table)

    def take(self, rows: NDArray[Any]) -> Points:
        """Some of the cells."""
        batches = None if self.batches is None else self.batches[rows]
        return Points(
            self.vectors[rows],
            self.table[rows],
            self.codes[rows],
            self.n_classes,
            batches,
            self.copies[rows],
            None if self.factors is None else self.factors[rows],
        )
