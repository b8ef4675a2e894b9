"""Cells that a perturbation takes: those to perturb, those of the goal state, and others beside them.

Dimensions: ``n`` perturbed cells · ``m`` goal cells and others · ``d`` width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells import CellSource
from biolm.io.cells.labels import label_column
from biolm.jobs.cells import CellEmbedding
from biolm.models.model import EmbedOptions
from biolm.tasks.perturb.settings import PerturbSettings

__all__ = ["GoalState", "chosen_cells", "goal_state"]

_GOAL_CELLS = 1000
# Cells that are not perturbed stand beside the goal where there are as many as this.
_SPARE = 50


@dataclass(frozen=True, slots=True, eq=False)
class GoalState:
    """Vectors of the goal state and of cells outside it, whose labels can be permuted.

    Parameters
    ----------
    cells
        ``(m, d)``, those of the goal first.
    goals
        How many are of the goal.
    """

    cells: NDArray[np.float64]
    goals: int

    @property
    def mean(self) -> NDArray[np.float32]:
        """Mean vector ``(d,)`` of the goal cells."""
        return np.asarray(self.cells[: self.goals].mean(0), np.float32)


def chosen_cells(source: CellSource, settings: PerturbSettings) -> NDArray[np.int64]:
    """Rows ``(n,)`` of the cells to perturb, in the order of the file.

    Parameters
    ----------
    source
        The open cells.
    settings
        Choices of the job.

    Raises
    ------
    InputError
        If a state or its column is missing, or no cell is left.
    """
    return _sampled(_outside(source, settings), settings.cells, settings.seed)


def goal_state(
    job: CellEmbedding, settings: PerturbSettings, options: EmbedOptions, perturbed: NDArray[np.int64]
) -> GoalState | None:
    """Vectors of up to 1,000 goal cells, and of as many others as are perturbed; None without a goal.

    The others are of the start state (of any other state without one), and not among the perturbed cells
    where enough are left.

    Parameters
    ----------
    job
        The cells and the model.
    settings
        Choices of the job.
    options
        How the model is run.
    perturbed
        Rows that are perturbed.
    """
    if settings.goal_key is None or settings.goal is None:
        return None
    goals = _of_state(label_column(job.source, settings.goal_key), settings.goal, settings.goal_key)
    # A mean of a thousand cells is as good as one of all.
    goals = _sampled(goals, _GOAL_CELLS, settings.seed)
    outside = _outside(job.source, settings)
    spare = np.setdiff1d(outside, perturbed)
    # Where enough are left, cells that are not perturbed: the test then does not use what it is about.
    others = _sampled(spare if len(spare) >= _SPARE else outside, settings.cells, settings.seed + 1)
    rows = np.concatenate([goals, others])
    parts = [
        job.model.embed(job.source.take(rows[start : start + job.step]), job.match, options)
        for start in range(0, len(rows), job.step)
    ]
    return GoalState(np.concatenate(parts).astype(np.float64), len(goals))


def _outside(source: CellSource, settings: PerturbSettings) -> NDArray[np.int64]:
    """Cells of the start state; of any but the goal without one; all without states."""
    if settings.goal_key is None:
        return np.arange(source.n_cells, dtype=np.int64)
    states = label_column(source, settings.goal_key)
    if settings.start is not None:
        return _of_state(states, settings.start, settings.goal_key)
    rows = np.flatnonzero(states != settings.goal).astype(np.int64)
    if not len(rows):
        raise InputError(f"every cell is of the goal state '{settings.goal}'; choose another")
    return rows


def _sampled(rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _of_state(states: NDArray[np.str_], state: str, column: str) -> NDArray[np.int64]:
    rows = np.flatnonzero(states == state).astype(np.int64)
    if not len(rows):
        names = ", ".join(np.unique(states)[:10].tolist())
        raise InputError(f"column '{column}' holds no '{state}' but {names}")
    return rows
