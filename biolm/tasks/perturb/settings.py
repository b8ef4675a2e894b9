"""The choices of an in-silico perturbation, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from biolm.errors import ConfigError
from biolm.jobs.settings import CellSettings, RunSettings
from biolm.options import Option

__all__ = ["HOW", "PerturbSettings"]

HOW = ("delete", "overexpress")


@dataclass(frozen=True, kw_only=True)
class PerturbSettings(CellSettings, RunSettings):
    """Choices of a perturbation, beside those of :class:`~biolm.jobs.settings.CellSettings`.

    Parameters
    ----------
    combine
        Also change all named genes together, after each alone.
    how
        What is done to all genes or to those of a list: ``delete`` or ``overexpress``.
    goal_key
        Column of the cell table that holds states, such as disease.
    start
        Perturb cells of this state only.
    goal
        Measure how far a cell moves toward this state: the mean vector of its cells.
    cells
        Most cells to perturb; more are sampled.
    minimum_cells
        Genes that can be changed in fewer cells are left out of a screen of all genes.
    controls
        Random genes of like expression that are changed for each gene and cell; 0 for none.

    Raises
    ------
    ConfigError
        If a value is out of range, or a state is named without its column.
    """

    how: Annotated[str, Option(help="delete or overexpress.", choices=HOW, needs=("genes", "all_genes"))] = (
        "delete"
    )
    combine: Annotated[bool, Option(help="Also change all named genes at once.")] = False
    goal_key: Annotated[str | None, Option(help="Column of states, such as disease.", shown="none")] = None
    start: Annotated[str | None, Option(help="State of the cells to perturb.", shown="all but the goal")] = (
        None
    )
    goal: Annotated[str | None, Option(help="State to move toward.", shown="none")] = None
    cells: Annotated[int, Option(help="Most cells to perturb.", min=1)] = 200
    minimum_cells: Annotated[
        int, Option(help="Fewest cells of a gene.", min=1, needs=("all_genes", "genes=all"))
    ] = 5
    controls: Annotated[int, Option(help="Matched random genes for each gene and cell.", min=0)] = 1

    def __post_init__(self) -> None:
        CellSettings.__post_init__(self)
        self.check_run()
        if self.goal_key is None and (self.start is not None or self.goal is not None):
            raise ConfigError("start and goal are states of a column; name it (`goal_key`)")
        if self.goal_key is not None and self.goal is None and self.start is None:
            raise ConfigError(f"column '{self.goal_key}' is given but neither a start nor a goal state of it")
        if self.goal is not None and self.goal == self.start:
            raise ConfigError(f"start and goal are both '{self.goal}'; choose two states")
