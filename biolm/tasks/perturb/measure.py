"""Change genes in cells and measure how far the cells move; pairs of cell and edit are packed together.

Dimensions: ``n`` cells · ``e`` edits · ``d`` width · ``p`` changed cells of a piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells import CellBlock, CellSource
from biolm.models.model import CellModel, EmbedOptions
from biolm.progress import progress
from biolm.tasks.perturb.cells import ChangingCells, open_changing
from biolm.tasks.perturb.controls import MatchedGenes
from biolm.tasks.perturb.edits import Edit
from biolm.tasks.perturb.figures import cosine
from biolm.vocab.match import GeneMatch

__all__ = ["Shifts", "mean_shares", "measure"]

_CELLS = 64
_PAIRS = 16_384


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
        Means over the random genes of the same cell.
    """

    shift: NDArray[np.float64]
    goal: NDArray[np.float64]
    shift_control: NDArray[np.float64]
    goal_control: NDArray[np.float64]


def mean_shares(
    source: CellSource, rows: NDArray[np.int64], match: GeneMatch, genes: int
) -> NDArray[np.float64]:
    """``(m,)`` share of a cell's counts that each gene of the vocabulary has, mean over cells."""
    total = np.zeros(genes)
    for block in _blocks(source, rows):
        sums = np.add.reduceat(np.append(block.data.astype(np.float64), 0), block.indptr[:-1])
        sums[np.diff(block.indptr) == 0] = 0
        cell = np.repeat(np.arange(len(block)), np.diff(block.indptr))
        target = match.target[block.indices]
        used = target >= 0
        share = block.data[used] / np.maximum(sums[cell[used]], 1e-300)
        total += np.bincount(target[used], weights=share, minlength=genes)
    return total / max(len(rows), 1)


def measure(
    source: CellSource,
    rows: NDArray[np.int64],
    edits: Sequence[Edit],
    *,
    model: CellModel,
    match: GeneMatch,
    options: EmbedOptions,
    goal: NDArray[np.float32] | None,
    matched: MatchedGenes,
    controls: int,
    show: bool = False,
) -> Shifts:
    """Measure every edit in every cell.

    Parameters
    ----------
    source, rows
        The file and the cells of it.
    edits
        ``e`` edits.
    model, match, options
        What embeds.
    goal
        ``(d,)`` vector of the goal state.
    matched, controls
        Draws random genes, and how many for each pair of cell and edit.
    show
        Draw a progress bar.
    """
    shape = (len(rows), len(edits))
    out = Shifts(*(np.full(shape, np.nan) for _ in range(4)))
    with progress("perturbing", len(rows), show=show) as advance:
        start = 0
        for block in _blocks(source, rows):
            cells = open_changing(model, block, match, options)
            before = cells.vectors(np.arange(len(block)), [Edit()] * len(block))
            for pairs in _pairs(cells, edits, block.numbers, matched, controls):
                _fill(out, start, before, pairs, cells, goal)
            start += len(block)
            advance(len(block))
    return out


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
    held = _Pairs([], [], [], [])
    for cell, expressed in enumerate(cells.expressed):
        have = set(expressed.tolist())
        for number, edit in enumerate(edits):
            if not have.issuperset(edit.deleted):
                continue
            drawn = matched.draw(edit, expressed, int(rows[cell]), number, controls) if controls else []
            for place, one in enumerate([edit, *drawn]):
                held.cells.append(cell)
                held.numbers.append(number)
                held.controls.append(place > 0)
                held.edits.append(one)
            if len(held.edits) >= _PAIRS:
                yield held
                held = _Pairs([], [], [], [])
    if held.edits:
        yield held


def _fill(
    out: Shifts,
    start: int,
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
    if goal is not None:
        toward = cosine(after, goal) - cosine(before, goal)[cell]
    control = np.array(pairs.controls)
    place = (start + cell[~control], number[~control])
    out.shift[place], out.goal[place] = same[~control], toward[~control]
    # Pairs of one cell and edit stand together, so their controls do.
    key = cell[control] * (number.max() + 1) + number[control]
    if not len(key):
        return
    _, first, count = np.unique(key, return_index=True, return_counts=True)
    order = np.argsort(key, kind="stable")
    begin = np.concatenate([[0], np.cumsum(count)[:-1]])
    place = (start + cell[control][first], number[control][first])
    for values, table in ((same[control], out.shift_control), (toward[control], out.goal_control)):
        table[place] = np.add.reduceat(values[order], begin) / count


def _blocks(source: CellSource, rows: NDArray[np.int64]) -> Iterator[CellBlock]:
    for start in range(0, len(rows), _CELLS):
        yield source.take(rows[start : start + _CELLS])
