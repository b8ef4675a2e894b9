"""What all types of a query share in differing from the training cells: the mark of another laboratory.

Dimensions: ``n`` cells of the query · ``k`` axes of a space · ``c`` classes · ``t`` classes in the query.

Laboratories differ in chemistry, depth and handling, which moves cells of every type alike and makes each
look novel. The shift of a class is the median of the cells called by its name, less its centre; what is taken
off is the median over classes, so that a new type, which is called by one or two names, moves it little.
There are two conditions. No class lies where the training cells do: else the query is of a laboratory that
was learned, and each of its cells is judged by itself. And the query's classes lie about each other as the
training classes do: cells of another tissue are called by known names, too, but do not.
``docs/explanation/novelty.md`` says how this was chosen and what it is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.annotate.distance import Distance, Space
from biolm.tasks.annotate.frozen import Frozen

__all__ = ["SAMPLE", "QueryCells", "align"]

SAMPLE = 1000
"""Cells of a query, evenly spaced, in which its shift is looked for."""
_FEWEST_CELLS = 10
_FEWEST_CLASSES = 3
# Of the cells of a class, at most .09 were as near as half of the training cells in another laboratory in the
# trial, and at least .60, in the class with most, in the same one.
_TYPICAL = 0.25
# Queries of other tissues had at most .35 in the trial, of other laboratories at least .58.
_AGREEMENT = 0.45


@dataclass(frozen=True, eq=False)
class QueryCells:
    """Cells of a query, as the spaces read them.

    Parameters
    ----------
    vectors
        ``(n, d)`` of the annotator's model.
    table
        Sparse ``(n, m)`` expression in the genes of the training cells; None where it is not read.
    factors
        ``(n, w)`` in factor space.
    """

    vectors: NDArray[np.float32]
    table: Any
    factors: NDArray[np.float32]

    def read_by(self, space: Space) -> NDArray[np.float32]:
        """``(n, d)`` or ``(n, w)``: the vectors that a space reads, where it reads no genes."""
        return self.factors if space.kind == "factors" else self.vectors


def align(frozen: Frozen, cells: QueryCells) -> tuple[Frozen, dict[str, Any] | None]:
    """The classifier with its classes where a query's laboratory has them, and what was found.

    Centres move by the shift; where the query's classes are wider than held-out training cells, distances are
    divided by how much. Names and confidence stay.

    Parameters
    ----------
    frozen
        Made to do with the genes of the query.
    cells
        Of the query, none of them empty.

    Returns
    -------
    The classifier, and facts: ``cells`` and ``types`` in which a shift was looked for; ``typical``, the
    fraction of cells in factor space as near as half of the training cells that were held out, in the type
    where it is largest; ``agreement``, the correlation of the centres of these types in the query with those
    in training, each set about its mean; ``shift_removed``. No facts where factor space is not asked.
    """
    novelty, distance = frozen.novelty, frozen.distance
    if novelty is None or novelty.space is None or distance is None:
        return frozen, None
    logits = frozen.scorer.logits(cells.vectors, cells.table)
    called = logits.argmax(1)
    classes = np.flatnonzero(np.bincount(called, minlength=logits.shape[1]) >= _FEWEST_CELLS)
    facts: dict[str, Any] = {"cells": len(called), "types": len(classes), "shift_removed": False}
    # A class without a training cell has no centre, and then numbers of centres are not those of classes.
    if len(classes) < _FEWEST_CLASSES or logits.shape[1] != len(novelty.space.centres):
        return frozen, facts
    groups = [np.flatnonzero(called == code) for code in classes]
    middles = {name: float(np.exp(pair[0])) for name, pair in novelty.scales.items()}
    usual = novelty.space.distances(cells.factors, None) <= middles["near"]
    typical = float(max(usual[rows].mean() for rows in groups))
    agreement = _agreement(novelty.space, cells, classes, groups)
    facts |= {"typical": round(typical, 4), "agreement": round(agreement, 4)}
    if typical > _TYPICAL or agreement < _AGREEMENT:
        return frozen, facts
    moved = [_moved(each, cells, classes, groups) for each in (novelty.space, *distance.spaces)]
    space, distance = moved[0], Distance(tuple(moved[1:]))
    near, far = space.distances(cells.factors, None), distance.novelty(cells.vectors, cells.table)
    space = _wider(space, near, groups, middles["near"])
    distance = Distance(tuple(_wider(each, far, groups, middles["doubt"]) for each in distance.spaces))
    aligned = replace(frozen, distance=distance, novelty=replace(novelty, space=space))
    return aligned, facts | {"shift_removed": True}


def _agreement(
    space: Space, cells: QueryCells, classes: NDArray[np.intp], groups: Sequence[NDArray[np.intp]]
) -> float:
    """Correlation of the query's ``t`` class means with the training centres, each set about its mean."""
    placed = space.placed(cells.read_by(space), cells.table)
    means = np.stack([placed[rows].mean(0) for rows in groups])
    centres = space.centres[classes].astype(np.float64)
    means, centres = means - means.mean(0), centres - centres.mean(0)
    scale = np.sqrt((means**2).sum() * (centres**2).sum())
    return float((means * centres).sum() / scale) if scale > 0 else 0.0


def _moved(
    space: Space, cells: QueryCells, classes: NDArray[np.intp], groups: Sequence[NDArray[np.intp]]
) -> Space:
    placed = space.placed(cells.read_by(space), cells.table)
    middles = np.stack([np.median(placed[rows], axis=0) for rows in groups])
    shift = np.median(middles - space.centres[classes], axis=0)
    return replace(space, centres=(space.centres + shift).astype(np.float32))


def _wider(
    space: Space, distances: NDArray[np.float64], groups: Sequence[NDArray[np.intp]], middle: float
) -> Space:
    """The space with a limit as much larger as the median class lies farther out than ``middle``."""
    middle_here = float(np.median([np.median(distances[rows]) for rows in groups]))
    return replace(space, limit=space.limit * max(1.0, middle_here / middle))
