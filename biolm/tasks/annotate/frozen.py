"""Fit a classifier on frozen vectors and expression, and calibrate it on cells it did not see.

Dimensions: ``n`` training cells · ``d`` width · ``m`` genes · ``c`` classes · ``f`` folds · ``w`` width of
factor space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.scoring.quality import macro_f1
from biolm.scoring.splits import Split, kfold
from biolm.tasks.annotate.calibrate import probabilities, temperature_of, threshold_of
from biolm.tasks.annotate.distance import Distance, Space, fit_space, most_components
from biolm.tasks.annotate.linear import LinearMap, fit_member, mean_map
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.tasks.annotate.novelty import HeldOut, Novelty, doubt_of
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import FitSettings

__all__ = [
    "Frozen",
    "chosen_on_enough",
    "fit_frozen",
    "fit_novelty",
    "fit_recipe",
    "fit_variants",
    "refit",
    "respaced",
]

# Members that each kind of feature offers; the first sets are preferred where they do as well.
OFFERED = {
    "embedding": ("embedding",),
    "expression": ("sparse", "markers", "components"),
    "joint": ("embedding", "sparse", "markers", "components"),
}
# Spaces in which novel cells are looked for.
SPACES = {"embedding": ("vectors",), "expression": ("genes",), "joint": ("vectors", "genes")}
_MANY = 1000
# Cells from which what is chosen on four fifths of them holds for all.
_ENOUGH_CELLS = 4000
# Fraction of cells whose class a fold of whole batches must have learned, for batches to be held out.
_ENOUGH_KNOWN = 0.5


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
    novelty
        Joins confidence and distances to one score; None where nothing was held out for it, or nothing is
        to be called unknown.
    """

    scorer: LinearMap | Neighbours
    recipe: tuple[str, ...]
    temperature: float
    threshold: float
    distance: Distance | None = None
    novelty: Novelty | None = None

    @property
    def reads_genes(self) -> bool:
        """Whether expression is read, to name cells or to find novel ones."""
        return self.scorer.reads_genes or (self.distance is not None and self.distance.reads_genes)

    @property
    def reads_factors(self) -> bool:
        """Whether novel rows are looked for in factor space."""
        return self.novelty is not None and self.novelty.space is not None

    def far(self, vectors: NDArray[np.float32], table: Any) -> NDArray[np.float64]:
        """``(n,)`` Mahalanobis' distance from the training cells over its limit; zero where there is none."""
        if self.distance is None:
            return np.zeros(len(vectors))
        return self.distance.novelty(vectors, table)

    def near(self, factors: NDArray[np.float32] | None, cells: int) -> NDArray[np.float32]:
        """``(n,)`` distance from the training cells in factor space; NaN where it is not known."""
        if factors is None or self.novelty is None or self.novelty.space is None:
            return np.full(cells, np.nan, np.float32)
        return self.novelty.space.distances(factors, None).astype(np.float32)

    def score(
        self,
        confidence: NDArray[np.floating[Any]],
        far: NDArray[np.floating[Any]],
        near: NDArray[np.floating[Any]] | None,
    ) -> NDArray[np.float32]:
        """``(n,)`` novelty; above 1 a cell is unknown.

        Parameters
        ----------
        confidence
            ``(n,)`` probability of the likeliest class.
        far, near
            ``(n,)`` as the methods of these names give them.
        """
        doubt = doubt_of(confidence, self.threshold, far)
        return np.asarray(doubt, np.float32) if self.novelty is None else self.novelty.score(doubt, near)

    def novelty_of(self, points: Points, confidence: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """``(n,)`` novelty of cells in memory, of which ``confidence (n,)`` is known."""
        near = self.near(points.factors, len(points.codes))
        return self.score(confidence, self.far(points.vectors, points.table), near)

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
    folds, instead = _folds(points, settings.seed)
    whole = {name: fit_recipe(points, [name], settings) for name in every}
    measured = bool(distances and folds and settings.reject)
    wanted = {kind: _spaces(kind, settings) for kind in features} if measured else {}
    share = settings.reject / 2 if measured else settings.reject
    kinds = list(dict.fromkeys(each for names in wanted.values() for each in names))
    most = _most_components(points, folds)
    spaces = {kind: fit_space(points, kind, most) for kind in kinds}
    closeness = ["factors"] if measured and points.factors is not None else []
    parts, far = _held_out(points, every, [*kinds, *closeness], folds, settings)
    near = far.get("factors")
    known = _known(points, folds)
    found = {}
    for kind, names in offered.items():
        recipe, temperature, threshold, distance, novelty = names, 1.0, 0.0, None, None
        if folds:
            seen = np.concatenate([split.test for split in folds])
            recipe = _best({name: parts[name] for name in names}, points.codes, seen)
            logits = np.mean([parts[name] for name in recipe], axis=0)[seen]
            temperature = temperature_of(logits, points.codes[seen])
            confidence = probabilities(logits, temperature).max(1)
            threshold = threshold_of(confidence, share)
            if kind in wanted:
                held = np.stack([far[each] for each in wanted[kind]], axis=1)[seen]
                distance = Distance.limited([spaces[each] for each in wanted[kind]], held, share)
                doubt = doubt_of(confidence, threshold, distance.over_limits(held))
                close = None if near is None else near[seen]
                novelty = fit_novelty(points, points.take(seen), known[seen], doubt, close, settings, instead)
        maps = [whole[name] for name in recipe]
        scorer = (
            maps[0] if len(maps) == 1 else mean_map([each for each in maps if isinstance(each, LinearMap)])
        )
        found[kind] = Frozen(scorer, recipe, temperature, threshold, distance, novelty)
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
    return mean_map(
        [fit_member(name, *fit, points.components if name == "components" else None) for name in recipe]
    )


def refit(frozen: Frozen, points: Points, settings: FitSettings) -> Frozen:
    """What was chosen elsewhere (members, temperature, limits, cut-off), fitted on all cells of ``points``.

    Parameters
    ----------
    frozen
        Chosen and calibrated on other cells.
    points
        Training cells.
    settings
        Choices of the job.
    """
    fitted = respaced(frozen, points)
    return replace(fitted, scorer=fit_recipe(points, frozen.recipe, settings))


def chosen_on_enough(points: Points, seed: int) -> bool:
    """Whether so many cells choose as more would, so that choosing again on all is not worth its time.

    Where batches are held out it is: each counts alike for the cut-off, however many cells it has.

    Parameters
    ----------
    points
        Cells on which members, temperature, limits and cut-off were chosen.
    seed
        Of the folds.
    """
    enough = points.batches is None and len(points.codes) >= _ENOUGH_CELLS
    return enough and bool(_folds(points, seed)[0])


def respaced(frozen: Frozen, points: Points) -> Frozen:
    """The same classifier, limits and cut-off, with the distances from the cells of ``points``.

    Parameters
    ----------
    frozen
        Fitted on other cells.
    points
        Training cells.
    """

    def again(space: Space) -> Space:
        return replace(fit_space(points, space.kind, space.axes.shape[1]), limit=space.limit)

    distance, novelty = frozen.distance, frozen.novelty
    if distance is not None:
        distance = Distance(tuple(again(space) for space in distance.spaces))
    if novelty is not None and novelty.space is not None:
        novelty = replace(novelty, space=again(novelty.space))
    return replace(frozen, distance=distance, novelty=novelty)


def fit_novelty(
    points: Points,
    held: Points,
    known: NDArray[np.bool_],
    doubt: NDArray[np.float64],
    near: NDArray[np.float64] | None,
    settings: FitSettings,
    instead: str = "",
) -> Novelty | None:
    """The joined score with its cut-off; None where no cell of a known type was held out.

    Parameters
    ----------
    points
        Training cells.
    held
        The ``h`` cells that were held out.
    known
        ``(h,)`` those that were held out from others of their class.
    doubt, near
        ``(h,)`` each; ``near`` is None where there is no factor space.
    settings
        Choices of the job.
    instead
        Why cells were held out, where groups were asked for.
    """
    if not known.any():
        return None
    groups = None if instead or held.batches is None else held.batches[known]
    scores = HeldOut(doubt[known], None if near is None else near[known], groups)
    space = None if near is None else fit_space(points, "factors")
    return Novelty.set_on(scores, space, settings.reject, instead)


def _folds(points: Points, seed: int) -> tuple[list[Split], str]:
    """Folds that keep batches and copies together, and why cells were dealt where batches should have been.

    None where a class is too small.
    """
    present = np.bincount(points.codes, minlength=points.n_classes)
    count = min(3 if len(points.codes) >= _MANY else 5, int(present[present > 0].min()))
    names, instead = points.codes.astype(str), ""
    if points.batches is not None:
        instead = "there is one batch among the training rows"
        if len(np.unique(points.batches)) > 1:
            folds = kfold(names, folds=max(count, 2), groups=points.batches, copies=points.copies, seed=seed)
            folds = [split for split in folds if len(np.unique(points.codes[split.train])) > 1]
            if _known(points, folds).mean() >= _ENOUGH_KNOWN:
                return folds, ""
            instead = "most classes lie in one batch each"
    if count < 2:
        return [], instead
    folds = kfold(names, folds=count, copies=points.copies, seed=seed)
    return [split for split in folds if len(np.unique(points.codes[split.train])) > 1], instead


def _known(points: Points, folds: Sequence[Split]) -> NDArray[np.bool_]:
    """``(n,)`` cells that a fold tests after others of their class."""
    found = np.zeros(len(points.codes), bool)
    for split in folds:
        found[split.test] = np.isin(points.codes[split.test], points.codes[split.train])
    return found


def _held_out(
    points: Points,
    members: Sequence[str],
    kinds: Sequence[str],
    folds: Sequence[Split],
    settings: FitSettings,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """``(n, c)`` logits of members, and ``(n,)`` distances in spaces, of cells that these did not see.

    Zeros where no fold tests a cell.
    """
    count, most = len(points.codes), _most_components(points, folds)
    logits = {name: np.zeros((count, points.n_classes)) for name in members}
    far = {kind: np.zeros(count) for kind in kinds}
    for split in folds:
        learned, tested = points.take(split.train), points.take(split.test)
        for name in members:
            scorer = fit_recipe(learned, [name], settings)
            logits[name][split.test] = scorer.logits(tested.vectors, tested.table)
        for kind in kinds:
            vectors = tested.factors if kind == "factors" else tested.vectors
            far[kind][split.test] = fit_space(learned, kind, most).distances(vectors, tested.table)
    return logits, far


def _spaces(kind: str, settings: FitSettings) -> tuple[str, ...]:
    return SPACES["embedding" if settings.method == "knn" else kind]


def _most_components(points: Points, folds: Sequence[Split]) -> int:
    """Components that the smallest fold can tell: a distance grows with their number, so all have as many."""
    return most_components(min([len(split.train) for split in folds], default=len(points.codes)))


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
