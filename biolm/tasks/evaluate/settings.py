"""The choices of an evaluation, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from biolm.jobs.settings import ReadingSettings
from biolm.options import Option

__all__ = ["BATCHES", "CELL_TYPES", "GROUPS", "EvaluateSettings"]

SHOTS = (1, 5, 10, 50)

CELL_TYPES = Option(help="Column of obs with the cell types.")
BATCHES = Option(help="Column of obs that integration should remove.", shown="none")
GROUPS = Option(help="Column whose groups stay whole in folds.", shown="none")


@dataclass(frozen=True, kw_only=True)
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
        Labelled cells a type, and fractions of all labelled cells, to learn from.
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

    label: Annotated[str, CELL_TYPES]
    batch: Annotated[str | None, BATCHES] = None
    groups: Annotated[str | None, GROUPS] = None
    leave_out: Annotated[
        tuple[str, ...], Option(help="Label that is no type; may be repeated.", shown="none")
    ] = ()
    rare: Annotated[int, Option(help="Leave out types with fewer cells.", min=0)] = 0
    folds: Annotated[int, Option(help="Folds of the cross-validation.", min=2)] = 5
    draws: Annotated[
        int, Option(help="Draws of every curve.", min=1, needs=("curves=True", "robustness=True"))
    ] = 5
    shots: Annotated[tuple[int, ...], Option(help="Labelled cells a type.", min=1, cli=False)] = SHOTS
    shares: Annotated[
        tuple[float, ...], Option(help="Fractions of the labelled cells.", above=0, max=1, cli=False)
    ] = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    cells: Annotated[int, Option(help="Score at most so many cells; 0 for all.", min=0)] = 10_000
    integration: Annotated[bool, Option(help="Take scIB metrics.")] = True
    curves: Annotated[bool, Option(help="Learn from few labels.")] = True
    robustness: Annotated[bool, Option(help="Embed again with fewer reads and genes.")] = True
    maps: Annotated[bool, Option(help="Draw UMAPs.")] = True
