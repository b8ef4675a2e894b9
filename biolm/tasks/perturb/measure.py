"""Change genes in cells and measure how far the cells move; pairs of cell and edit are packed together.

Dimensions: ``n`` cells · ``e`` edits · ``r`` random genes of a cell and edit · ``d`` width · ``p`` changed
cells of a piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells import CellBlock, CellSource
from biolm.models.model import CellModel, EmbedOptions
from biolm.tasks.perturb.cells import ChangingCells, open_changing
from biolm.tasks.perturb.controls import MatchedGenes
from biolm.tasks.perturb.edits import Edit
from biolm.tasks.perturb.figures import cosine
from biolm.vocab.match import GeneMatch

__all__ = ["CELLS", "Shifts", "cell_blocks", "gathered", "mean_shares", "measure"]

CELLS = 64
"""Cells of a block."""
_PAIRS = 16_384
# Two shifts of float32 vectors are equal up to here.
_TIE = 1e-9
_BY_CELL = (
    "shift",
    "goal",
    "shift_control",
    "goal_control",
    "shift_below",
    "goal_below",
    "drawn",
)


@dataclass(frozen=True, slots=True)
class Shifts:
    """How far each cell moves by each edit; NaN where the edit changes nothing in the cell.

    Parameters
    ----------
    shift
        ``(n, e)`` 1 - cosine between the cell's vector before and after.
    goal
        ``(n, e)`` cosine to the goal state after, minus that before; NaN without a goal.
    shift_control, goal_control
        ``(n, e)`` means over the random genes of the same cell.
    shift_below, goal_below
        ``(n, e)`` fraction of the random genes of the same cell whose value lies below, ties by half.
    drawn
        ``(n, e, r)`` a number of each random gene (of each set of them, for edits of several), -1 for none.
    moved
        ``(e, d)`` mean step of a cell's unit vector beyond that by its random genes; ``(e, 0)`` without a
        goal.
    """

    shift: NDArray[np.float64]
    goal: NDArray[np.float64]
    shift_control: NDArray[np.float64]
    goal_control: NDArray[np.float64]
    shift_below: NDArray[np.float64]
    goal_below: NDArray[np.float64]
    drawn: NDArray[np.int64]
    moved: NDArray[np.float64]

    @classmethod
    def empty(cls, cells: int, edits: int, controls: int, width: int) -> Shifts:
        """Nothing measured yet.

        Parameters
        ----------
        cells
            How many.
        edits
            How many.
        controls
            Random genes for each edit and cell.
        width
            Of the vectors.
        """
        a, b, c, d, e, f = np.full((6, cells, edits), np.nan)
        drawn = np.full((cells, edits, controls), -1, np.int64)
        return cls(a, b, c, d, e, f, drawn, np.zeros((edits, width)))

    def take(self, edits: NDArray[np.int64]) -> Shifts:
        """Those of some edits."""
        return Shifts(
            self.shift[:, edits],
            self.goal[:, edits],
            self.shift_control[:, edits],
            self.goal_control[:, edits],
            self.shift_below[:, edits],
            self.goal_below[:, edits],
            self.drawn[:, edits],
            self.moved[edits],
        )


def mean_shares(
    source: CellSource, rows: NDArray[np.int64], match: GeneMatch, genes: int
) -> NDArray[np.float64]:
    """``(m,)`` fraction of a cell's counts that each gene of the vocabulary has, mean over cells.

    Parameters
    ----------
    source
        The open cells.
    rows
        Cells that count.
    match
        Where their genes go.
    genes
        ``m``.
    """
    total = np.zeros(genes)
    for block in cell_blocks(source, rows, 0, -(-len(rows) // CELLS)):
        sums = np.add.reduceat(np.append(block.data.astype(np.float64), 0), block.indptr[:-1])
        # reduceat gives an empty row the next row's first count.
        sums[np.diff(block.indptr) == 0] = 0
        cell = np.repeat(np.arange(len(block)), np.diff(block.indptr))
        target = match.target[block.indices]
        used = target >= 0
        fraction = block.data[used] / np.maximum(sums[cell[used]], 1e-300)
        total += np.bincount(target[used], weights=fraction, minlength=genes)
    return total / max(len(rows), 1)


def measure(
    block: CellBlock,
    edits: Sequence[Edit],
    *,
    model: CellModel,
    match: GeneMatch,
    options: EmbedOptions,
    goal: NDArray[np.float32] | None,
    matched: MatchedGenes,
    controls: int,
) -> dict[str, NDArray[Any]]:
    """Measure every edit in every cell of a block.

    Parameters
    ----------
    block
        ``n`` cells.
    edits
        ``e`` edits.
    model, match, options
        What embeds.
    goal
        ``(d,)`` vector of the goal state.
    matched, controls
        Draws random genes, and how many for each pair of cell and edit.

    Returns
    -------
    By name what :func:`gathered` puts together.
    """
    width = 0 if goal is None else model.width
    out, steps = Shifts.empty(len(block), len(edits), controls, width), _Steps(len(edits), width)
    cells = open_changing(model, block, match, options)
    before = cells.vectors(np.arange(len(block)), [Edit()] * len(block))
    for pairs in _pairs(cells, edits, block.numbers, matched, controls):
        _fill(out, steps, before, pairs, cells, goal)
    arrays = {name: getattr(out, name) for name in _BY_CELL}
    return {**arrays, "sums": steps.sums[None], "counts": steps.counts[None]}


def gathered(parts: Iterable[Mapping[str, NDArray[Any]]]) -> Shifts:
    """Shifts of all cells from those of consecutive blocks."""
    arrays = list(parts)
    by_cell = {name: np.concatenate([part[name] for part in arrays]) for name in _BY_CELL}
    sums, counts = (np.concatenate([part[name] for part in arrays]).sum(0) for name in ("sums", "counts"))
    means = sums / np.where(counts > 0, counts, 1)
    return Shifts(**by_cell, moved=np.asarray(means[0] - means[1]))


def cell_blocks(source: CellSource, rows: NDArray[np.int64], first: int, last: int) -> Iterator[CellBlock]:
    """The blocks ``first`` to ``last`` of :data:`CELLS` of the cells ``rows`` of a file.

    Parameters
    ----------
    source
        The open cells.
    rows
        Cells that are read.
    first, last
        Numbers of the blocks.
    """
    for number in range(first, last):
        yield source.take(rows[number * CELLS : (number + 1) * CELLS])


class _Steps:
    """Sums ``(2, e, d)`` of steps of unit vectors: by edits, and by the mean of their random genes."""

    def __init__(self, edits: int, width: int) -> None:
        self.sums, self.counts = np.zeros((2, edits, width)), np.zeros((2, edits, 1))

    def add(
        self, number: NDArray[np.int64], steps: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> None:
        """Add weighted steps ``(p, d)`` of edits; weights below 0 mark random genes."""
        from scipy.sparse import csr_matrix

        for side, chosen in enumerate((weights > 0, weights < 0)):
            rows = np.flatnonzero(chosen & np.isfinite(steps).all(1))
            places = number[rows], np.arange(len(rows))
            table = csr_matrix((np.abs(weights[rows]), places), (self.sums.shape[1], len(rows)))
            self.sums[side] += table @ steps[rows]
            self.counts[side] += table.sum(1)


@dataclass(slots=True)
class _Pairs:
    """Pairs of cell and edit, each followed by its controls."""

    cells: list[int]
    numbers: list[int]
    controls: list[bool]
    edits: list[Edit]


def _pairs(
    cells: ChangingCells,
    edits: Sequence[Edit],
    rows: NDArray[np.int64],
    matched: MatchedGenes,
    controls: int,
) -> Iterator[_Pairs]:
    """Pairs of a block in which something changes, some at a time."""
    pending = _Pairs([], [], [], [])
    for cell, expressed in enumerate(cells.expressed):
        # Deleting a gene that is not there is no experiment: NaN, not a shift of zero.
        have = set(expressed.tolist())
        for number, edit in enumerate(edits):
            if not have.issuperset(edit.deleted) or not cells.changes(cell, edit):
                continue
            drawn: list[Edit] = []
            if controls:
                changes = partial(cells.changes, cell)
                drawn = matched.draw(edit, expressed, int(rows[cell]), number, controls, changes)
            for place, one in enumerate([edit, *drawn]):
                pending.cells.append(cell)
                pending.numbers.append(number)
                pending.controls.append(place > 0)
                pending.edits.append(one)
            if len(pending.edits) >= _PAIRS:
                yield pending
                pending = _Pairs([], [], [], [])
    if pending.edits:
        yield pending


def _fill(
    out: Shifts,
    steps: _Steps,
    before: NDArray[np.float32],
    pairs: _Pairs,
    cells: ChangingCells,
    goal: NDArray[np.float32] | None,
) -> None:
    """Embed the changed cells and put their shifts into the tables."""
    cell, number = np.array(pairs.cells), np.array(pairs.numbers)
    after = cells.vectors(cell, pairs.edits)
    same = 1 - cosine(after, before[cell])
    toward = np.full(len(cell), np.nan)
    control = np.array(pairs.controls)
    # Each edit and the random genes that follow it, as a run from the edit's own place.
    own = np.flatnonzero(~control)
    run = np.cumsum(~control) - 1
    count = np.bincount(run) - 1
    if goal is not None:
        toward = cosine(after, goal) - cosine(before, goal)[cell]
        # All random genes of an edit weigh together as much as the edit itself.
        weights = np.where(control, -1 / np.maximum(count[run], 1), 1.0)
        steps.add(number, _unit(after) - _unit(before)[cell], weights)
    place = (cell[own], number[own])
    out.shift[place], out.goal[place] = same[own], toward[own]
    if not control.any():
        return
    some = count > 0
    place = (place[0][some], place[1][some])
    tables = ((same, out.shift_control, out.shift_below), (toward, out.goal_control, out.goal_below))
    for values, means, below in tables:
        sums = np.bincount(run[control], values[control], len(own))
        wins = _above(values[own][run[control]], values[control])
        means[place] = sums[some] / count[some]
        below[place] = np.bincount(run[control], wins, len(own))[some] / count[some]
    nth = np.arange(len(run)) - own[run] - 1
    names = np.array([_number_of(edit) for edit in pairs.edits], np.int64)
    out.drawn[cell[control], number[control], nth[control]] = names[control]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows of length 1; NaN where a row is zero."""
    rows = vectors.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, np.nan))


def _above(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where a value lies above the other, 0.5 where they differ by rounding alone, else 0; NaN stays."""
    gap = values - others
    return np.where(np.abs(gap) <= _TIE, 0.5, np.heaviside(gap, 0.5))


def _number_of(edit: Edit) -> int:
    """The gene of an edit; for several a number of their own, the same in every run."""
    return edit.genes[0] if len(edit.genes) == 1 else abs(hash(edit.genes))
