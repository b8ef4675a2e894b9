"""Fit a classifier on frozen vectors and expression, and calibrate it on cells it did not see.

Dimensions: ``n`` training cells · ``d`` width · ``m`` genes · ``c`` classes · ``f`` folds · ``w`` width of
factor space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.scoring.splits import Split
from biolm.tasks.annotate.calibrate import probabilities, temperature_of, threshold_of
from biolm.tasks.annotate.distance import Distance, Space, fit_space, most_components
from biolm.tasks.annotate.inner_folds import best_members, folds_of, seen_classes
from biolm.tasks.annotate.linear import LinearMap, fit_member, mean_map
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.tasks.annotate.novelty import HeldOut, Novelty, doubt_of
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import FitSettings

__all__ = [
    "Frozen",
    "chosen_on_enough",
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
# Cells from which what is chosen on four fifths of them holds for all.
_ENOUGH_CELLS = 4000


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
        """``(n,)`` Mahalanobis' distance from the training cells over its limit; zero where there is none.

        Parameters
        ----------
        vectors
            ``(n, d)`` of the model.
        table
            Sparse ``(n, m)`` log-normalised expression, or k-mers; None where nothing reads it.
        """
        if self.distance is None:
            return np.zeros(len(vectors))
        return self.distance.novelty(vectors, table)

    def near(self, factors: NDArray[np.float32] | None, cells: int) -> NDArray[np.float32]:
        """``(n,)`` distance from the training cells in factor space; NaN where it is not known.

        Parameters
        ----------
        factors
            ``(n, w)`` places in factor space; None for rows that have none.
        cells
            Their number ``n``.
        """
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
        """``(n,)`` novelty of cells in memory.

        Parameters
        ----------
        points
            The cells.
        confidence
            ``(n,)`` probability of the likeliest class of each.
        """
        near = self.near(points.factors, len(points.codes))
        return self.score(confidence, self.far(points.vectors, points.table), near)

    def probabilities(self, vectors: NDArray[np.float32], table: Any) -> NDArray[np.float64]:
        """``(n, c)`` calibrated probabilities.

        Parameters
        ----------
        vectors, table
            As of :meth:`far`.
        """
        return probabilities(self.scorer.logits(vectors, table), self.temperature)


def fit_variants(
    points: Points, settings: FitSettings, features: Sequence[str], *, distances: bool = True
) -> dict[str, Frozen]:
    """Choose members, temperature and threshold by cross-validation, then fit on all cells of ``points``.

    Several kinds of features come at the price of the largest. Where cross-validation is impossible (one
    cell of a class), all members that are offered are used, probabilities are not calibrated and no cell is
    unknown. Without ``distances`` confidence alone says what is unknown, and takes the whole of
    ``settings.reject``.

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

    Raises
    ------
    InputError
        If the cells are of one class.
    """
    if len(np.unique(points.codes)) < 2:
        raise InputError("the training cells hold one class; an annotator needs at least two to tell apart")
    offered = {kind: ("neighbours",) if settings.method == "knn" else OFFERED[kind] for kind in features}
    every = list(dict.fromkeys(name for names in offered.values() for name in names))
    folds, instead = folds_of(points, settings.seed)
    whole = {name: fit_recipe(points, [name], settings) for name in every}
    measured = bool(distances and folds and settings.reject)
    spaces_of = {kind: SPACES["embedding" if settings.method == "knn" else kind] for kind in features}
    wanted = spaces_of if measured else {}
    # Confidence and distance each reject on their own account, so each gets half of the promised loss.
    share = settings.reject / 2 if measured else settings.reject
    kinds = list(dict.fromkeys(each for names in wanted.values() for each in names))
    # Folds are smaller than the whole, and limits set with fewer components would not fit more of them.
    most = _most_components(points, folds)
    spaces = {kind: fit_space(points, kind, most) for kind in kinds}
    closeness = ["factors"] if measured and points.factors is not None else []
    # The limits must come from cells that the distance was not fitted on: training cells lie nearer.
    parts, far = _held_out(points, every, [*kinds, *closeness], folds, settings)
    near = far.get("factors")
    known = seen_classes(points, folds)
    fitted = {}
    for kind, names in offered.items():
        recipe, temperature, threshold, distance, novelty = names, 1.0, 0.0, None, None
        if folds:
            seen = np.concatenate([split.test for split in folds])
            recipe = best_members({name: parts[name] for name in names}, points.codes, seen)
            logits = np.mean([parts[name] for name in recipe], axis=0)[seen]
            temperature = temperature_of(logits, points.codes[seen])
            confidence = probabilities(logits, temperature).max(1)
            # Temperature before threshold: the threshold is one of calibrated confidence.
            threshold = threshold_of(confidence, share)
            if kind in wanted:
                unseen = np.stack([far[each] for each in wanted[kind]], axis=1)[seen]
                distance = Distance.limited([spaces[each] for each in wanted[kind]], unseen, share)
                doubt = doubt_of(confidence, threshold, distance.over_limits(unseen))
                close = None if near is None else near[seen]
                novelty = fit_novelty(points, points.take(seen), known[seen], doubt, close, settings, instead)
        maps = [whole[name] for name in recipe]
        scorer = (
            maps[0] if len(maps) == 1 else mean_map([each for each in maps if isinstance(each, LinearMap)])
        )
        fitted[kind] = Frozen(scorer, recipe, temperature, threshold, distance, novelty)
    return fitted


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
    # Calibration stays too, since logits of cells that were learned from are overconfident.
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
    return enough and bool(folds_of(points, seed)[0])


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
        # The limit stays: it was set on held-out cells, of which there are none here.
        return replace(fit_space(points, space.kind, space.axes.shape[1]), limit=space.limit)

    distance, novelty = frozen.distance, frozen.novelty
    if distance is not None:
        distance = Distance(tuple(again(space) for space in distance.spaces))
    if novelty is not None and novelty.space is not None:
        novelty = replace(novelty, space=again(novelty.space))
    return replace(frozen, distance=distance, novelty=novelty)


def fit_novelty(
    points: Points,
    tested: Points,
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
    tested
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
    groups = None if instead or tested.batches is None else tested.batches[known]
    scores = HeldOut(doubt[known], None if near is None else near[known], groups)
    space = None if near is None else fit_space(points, "factors")
    return Novelty.set_on(scores, space, settings.reject, instead)


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


def _most_components(points: Points, folds: Sequence[Split]) -> int:
    """Components that the smallest fold can tell: a distance grows with their number, so all have as many."""
    return most_components(min([len(split.train) for split in folds], default=len(points.codes)))
