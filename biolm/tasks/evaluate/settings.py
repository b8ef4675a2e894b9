"""The choices of an evaluation, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from biolm.errors import ConfigError
from biolm.jobs.settings import ReadingSettings

__all__ = ["EvaluateKeywords", "EvaluateSettings"]


class EvaluateKeywords(TypedDict, total=False):
    """Keyword options of :func:`biolm.evaluate` beyond its named arguments; see :class:`EvaluateSettings`."""

    groups: str | None
    leave_out: tuple[str, ...]
    rare: int
    folds: int
    draws: int
    shots: tuple[int, ...]
    shares: tuple[float, ...]
    cells: int
    integration: bool
    curves: bool
    robustness: bool
    maps: bool
    layer: str | None
    allow_normalised: bool
    gene_column: str | None
    minimum_match: float
    match: str
    species: str | None
    seed: int
    overwrite: bool
    progress: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings(ReadingSettings):
    """Choices of an evaluation, beside those of :class:`~biolm.jobs.settings.ReadingSettings`.

    Parameters
    ----------
    label, batch
        Columns of ``obs``: the cell types, and what integration should remove.
    groups
        Column whose groups (donors, say) are never torn apart by cross-validation; cells are dealt one by one
        by default.
    leave_out
        Labels that are no cell type, such as ``unknown``.
    rare
        Leave out types with fewer cells than this.
    folds, draws
        Folds of the cross-validation; random draws of the few-shot and robustness curves.
    shots, shares
        Labelled cells a type, and shares of all labelled cells, to learn from.
    cells
        At most so many cells are scored, drawn at random type by type; 0 for all.
    integration, curves, robustness, maps
        Whether to take integration metrics, the few-shot and label-share curves, to embed again with fewer
        reads and genes (where the model is at hand), and to draw maps.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    label: str
    batch: str | None = None
    groups: str | None = None
    leave_out: tuple[str, ...] = ()
    rare: int = 0
    folds: int = 5
    draws: int = 5
    shots: tuple[int, ...] = (1, 5, 10, 50)
    shares: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    cells: int = 10_000
    integration: bool = True
    curves: bool = True
    robustness: bool = True
    maps: bool = True

    def __post_init__(self) -> None:
        ReadingSettings.__post_init__(self)
        if self.folds < 2 or self.draws < 1:
            raise ConfigError(f"give at least 2 folds and 1 draw, not {self.folds} and {self.draws}")
        if min(self.cells, self.rare) < 0:
            raise ConfigError("the numbers of cells to score and of a rare type must be 0 or more")
        if any(shot < 1 for shot in self.shots) or any(not 0 < share <= 1 for share in self.shares):
            raise ConfigError("shots are whole numbers from 1 and label shares lie above 0 and up to 1")
