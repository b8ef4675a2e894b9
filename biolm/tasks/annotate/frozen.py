"""Fit a classifier on frozen vectors and expression, and calibrate it on cells it did not see.

Dimensions: ``n`` training cells · ``d`` width · ``m`` genes · ``c`` classes · ``f`` folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.scoring.quality import macro_f1
from biolm.scoring.splits import Split, kfold
from biolm.tasks.annotate.calibrate import probabilities, temperature_of, threshold_of
from biolm.tasks.annotate.distance import Distance, fit_space
from biolm.tasks.annotate.linear import LinearMap, fit_member, mean_map
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["Frozen", "fit_frozen", "fit_recipe", "fit_variants"]

# Members that each kind of feature offers; the first sets are preferred where they do as well.
OFFERED = {
    "embedding": ("embedding",),
    "expression": ("sparse", "markers", "components"),
    "joint": ("embedding", "sparse", "markers", "components"),
}
# Spaces in which novel cells are looked for.
SPACES = {"embedding": ("vectors",), "expression": ("genes",), "joint": ("vectors", "genes")}
_MANY = 1000


@dataclass(frozen=True, eq=False)
class Frozen:
    """A fitted and calibrated classifier.

    Parameters
    ----------
    scorer
        Gives logits.
    recipe
        Names of the members that were chosen; ``("neighbours",)`` for ``knn``.
    temperature, threshold
        See :mod:`biolm.tasks.annotate.calibrate`.
    distance
        How far a cell lies from the training cells; None where that could not be learned.
    """

    scorer: LinearMap | Neighbours
    recipe: tuple[str, ...]
    temperature: float
    threshold: float
    distance: Distance | None = None

    @property
    def reads_genes(self) -> bool:
        """Whether expression is read, to name cells or to find novel ones."""
        return self.scorer.reads_genes or (self.distance is not None and self.distance.reads_genes)

    def novelty(self, vectors: NDArray[np.float32], table: Any) -> NDArray[np.float64]:
        """``(n,)`` distance from the training cells; above 1 a cell is unknown, whatever its confidence."""
        if self.distance is None:
            return np.zeros(len(vectors))
        return self.distance.novelty(vectors, table)

    def probabilities(self, vectors: NDArray[np.float32], table: Any) -> NDArray[np.float64]:
        """``(n, c)`` calibrated probabilities."""
        return probabilities(self.scorer.logits(vectors, table), self.temperature)


def fit_frozen(points: Points, settings: FitSettings) -> Frozen:
    """Choose members, temperature and threshold by cross-validation, then fit on all cells of ``points``.

    Where cross-validation is impossible (one cell of a class), all members that are offered are used,
    probabilities are not calibrated and no cell is unknown.

    Parameters
    ----------
    points
        Training cells.
    settings
        Choices of the job.

    Raises
    ------
    InputError
        If the cells are of one class.
    """
    return fit_variants(points, settings, [settings.features])[settings.features]


def fit_variants(
    points: Points, settings: FitSettings, features: Sequence[str], *, distances: bool = True
) -> dict[str, Frozen]:
    """As :func:`fit_frozen`, for several kinds of features at the price of the largest.

    Without ``distances`` confidence alone says what is unknown, and takes the whole of ``settings.reject``.

    Parameters
    ----------
    points
        Training cells.
    settings
        Choices of the job.
    features
        Kinds of features, one annotator each.
    distances
        Whether distances to training cells count too; else confidence alone says what is unknown.
    """
    if len(np.unique(points.codes)) < 2:
        raise InputError("the training cells hold one class; an annotator needs at least two to tell apart")
    offered = {kind: ("neighbours",) if settings.method == "knn" else OFFERED[kind] for kind in features}
    every = list(dict.fromkeys(name for names in offered.values() for name in names))
    folds = _folds(points, settings.seed)
    parts = {name: _unseen(points, name, folds, settings) for name in every}
    whole = {name: fit_recipe(points, [name], settings) for name in every}
    measured = bool(distances and folds and settings.reject)
    wanted = {kind: _spaces(kind, settings) for kind in features} if measured else {}
    share = settings.reject / 2 if measured else settings.reject
    kinds = list(dict.fromkeys(each for names in wanted.values() for each in names))
    spaces = {kind: fit_space(points, kind, settings.seed) for kind in kinds}
    far = {kind: _unseen_distances(points, kind, folds, settings) for kind in kinds}
    found = {}
    for kind, names in offered.items():
        recipe, temperature, threshold, distance = names, 1.0, 0.0, None
        if folds:
            seen = np.concatenate([split.test for split in folds])
            recipe = _best({name: parts[name] for name in names}, points.codes, seen)
            logits = np.mean([parts[name] for name in recipe], axis=0)[seen]
            temperature = temperature_of(logits, points.codes[seen])
            threshold = threshold_of(probabilities(logits, temperature).max(1), share)
            if kind in wanted:
                held = np.stack([far[each] for each in wanted[kind]], axis=1)[seen]
                distance = Distance.limited([spaces[each] for each in wanted[kind]], held, share)
        maps = [whole[name] for name in recipe]
        scorer = (
            maps[0] if len(maps) == 1 else mean_map([each for each in maps if isinstance(each, LinearMap)])
        )
        found[kind] = Frozen(scorer, recipe, temperature, threshold, distance)
    return found


def fit_recipe(points: Points, recipe: Sequence[str], settings: FitSettings) -> LinearMap | Neighbours:
    """Fit chosen members on all cells of ``points``, without choosing or calibrating anything.

    Parameters
    ----------
    points
        Training cells.
    recipe
        Names of the members.
    settings
        Choices of the job.
    """
    if settings.method == "knn":
        return Neighbours.fit(points.vectors, points.codes, points.n_classes, settings.neighbours)
    fit = (points.vectors, points.table, points.codes, points.n_classes, settings.seed)
    return mean_map([fit_member(name, *fit) for name in recipe])


def _folds(points: Points, seed: int) -> list[Split]:
    """Folds that keep batches and copies together; none where a class or the batches are too few."""
    present = np.bincount(points.codes, minlength=points.n_classes)
    count = min(3 if len(points.codes) >= _MANY else 5, int(present[present > 0].min()))
    groups = points.batches
    if groups is not None and len(np.unique(groups)) < 2:
        groups = None
    if count < 2 and groups is None:
        return []
    names = points.codes.astype(str)
    folds = kfold(names, folds=max(count, 2), groups=groups, copies=points.copies, seed=seed)
    return [split for split in folds if len(np.unique(points.codes[split.train])) > 1]


def _unseen(points: Points, name: str, folds: Sequence[Split], settings: FitSettings) -> NDArray[np.float64]:
    """``(n, c)`` logits of each cell from a member that did not see it; zeros where no fold tests a cell."""
    found = np.zeros((len(points.codes), points.n_classes))
    for split in folds:
        scorer = fit_recipe(points.take(split.train), [name], settings)
        tested = points.take(split.test)
        found[split.test] = scorer.logits(tested.vectors, tested.table)
    return found


def _spaces(kind: str, settings: FitSettings) -> tuple[str, ...]:
    return SPACES["embedding" if settings.method == "knn" else kind]


def _unseen_distances(
    points: Points, kind: str, folds: Sequence[Split], settings: FitSettings
) -> NDArray[np.float64]:
    """``(n,)`` distance of each cell from training cells that it is not one of."""
    found = np.zeros(len(points.codes))
    for split in folds:
        tested = points.take(split.test)
        space = fit_space(points.take(split.train), kind, settings.seed)
        found[split.test] = space.distances(tested.vectors, tested.table)
    return found


def _best(
    parts: dict[str, NDArray[np.float64]], codes: NDArray[np.int64], seen: NDArray[np.int64]
) -> tuple[str, ...]:
    """The set of members whose mean has the highest macro-F1; of equals the smallest, then the first."""
    names = list(parts)
    sets = [chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)]

    def score(chosen: tuple[str, ...]) -> float:
        called = np.mean([parts[name] for name in chosen], axis=0)[seen].argmax(1)
        return float(macro_f1(codes[seen], called)[0])

    return max(sets, key=score)
