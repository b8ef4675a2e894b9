"""Choices of a fit of a factor model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from biolm.jobs.settings import ReadingSettings
from biolm.options import Option

__all__ = ["FitSettings"]


@dataclass(frozen=True, kw_only=True)
class FitSettings(ReadingSettings):
    """Choices of a fit, beside how files are read.

    Parameters
    ----------
    factors
        ``d``.
    cells
        Most cells of a file, evenly spaced.
    genes
        Most genes with loadings: those that vary most within sets.
    rounds
        Of expectation maximisation.
    """

    # The rule of a published model; a fit makes its own.
    unused: ClassVar[dict[str, tuple[str, ...]]] = {"*": ("match",)}

    factors: Annotated[int, Option(help="Factors of the model.", min=2, max=512)] = 64
    cells: Annotated[int, Option(help="Most cells of a file, evenly spaced.", min=50)] = 2000
    genes: Annotated[int, Option(help="Most genes with loadings.", min=100)] = 9000
    rounds: Annotated[int, Option(help="Rounds of expectation maximisation.", min=1)] = 40
