"""How far to fine-tune from the linear solution: rate and steps by held-out folds, 0 steps among them.

Dimensions: ``n`` rows · ``s`` rows of a fold · ``c`` classes · ``d`` width · ``m`` genes or k-mers.

The training rows are cut into three folds: of whole donors, batches or clusters of sequences where there are
any, else stratified. One fold chooses: each learning rate is tried for an epoch, the better one goes on, and
its loss is looked at every half epoch until it has not fallen for two looks. The other folds confirm: trained
as far, the loss on rows that chose nothing must fall by more than 1.64 of its standard errors (one-sided
5 %), and macro-F1 must not fall; else no step is taken.

The loss is the log loss at its best temperature, classes counting alike; of numbers the squared error over
their variance. The standard error is the larger of that over rows and that over groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError, TrainingError
from biolm.progress import log
from biolm.scoring.quality import macro_f1
from biolm.scoring.splits import Split, kfold
from biolm.tasks.annotate.calibrate import probabilities, temperature_of
from biolm.tasks.annotate.labelled import Labels
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.points import Points

if TYPE_CHECKING:
    from biolm.training.linear_start import Maps, Target, Tuner

__all__ = ["Choice", "Solution", "choose", "folds_of", "held_losses"]

_FOLDS = 3
_PATIENCE = 2
_LEAST_STEPS = 20
_LIMIT = 1.64
_FALL = 1e-4

Logits = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """What the linear method found for one column.

    Parameters
    ----------
    column
        To learn.
    points
        All ``n`` rows.
    rows
        Those that it learned from.
    whole
        Fitted on all of them.
    temperature
        Of its probabilities.
    refit
        Fits the same on fewer rows.
    """

    column: Labels
    points: Points
    rows: NDArray[np.int64]
    whole: LinearMap
    temperature: float
    refit: Callable[[Points], LinearMap]

    @property
    def centre(self) -> NDArray[np.float32]:
        """``(m,)`` the mean training row: what maps say beyond it can be compared between folds."""
        return np.asarray(self.points.table[self.rows].mean(0), np.float32).reshape(-1)

    def offsets(self, linear: LinearMap) -> NDArray[np.float64]:
        """``(n, c)`` what a map says of each row beside its vectors."""
        # Constants of this column that training does not change: expression is read by the linear map alone.
        scores = np.asarray(self.points.table @ linear.genes, np.float64)
        return scores - self.centre @ linear.genes

    def target(self, linear: LinearMap, offsets: NDArray[np.float64]) -> Target:
        """Where fine-tuning starts: a map's weights on vectors, and what is said beside them.

        Parameters
        ----------
        linear
            The map.
        offsets
            ``(n, c)`` what it says beside the vectors.
        """
        from biolm.training.linear_start import Target

        kind: Any = np.int64 if self.column.classes else np.float64
        return Target(
            wanted=self.column.codes.astype(kind),
            weights=linear.vectors,
            bias=linear.bias + self.centre @ linear.genes,
            offsets=offsets,
            temperature=self.temperature,
        )

    def joined(self, maps: Maps) -> LinearMap:
        """Tuned weights on the vectors beside the unchanged ones on the rest."""
        weights, bias = maps[self.column.name]
        return LinearMap(weights, self.whole.genes, bias - self.centre @ self.whole.genes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """What the folds say.

    Parameters
    ----------
    rate
        Learning rate.
    looks
        Half epochs; 0 where linear is enough.
    facts
        Losses and what they were measured on, as plain numbers.
    logits
        By column, of the rows of all folds from a network that did not see them, trained as far.
    folds
        That chose and confirmed it.
    targets
        To start from with all training rows.
    """

    rate: float
    looks: int
    facts: dict[str, Any]
    logits: Logits = field(default_factory=dict)
    folds: Sequence[Split] = ()
    targets: Mapping[str, Target] = field(default_factory=dict)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the logits."""
        return np.concatenate([fold.test for fold in self.folds])


def look_steps(tuner: Tuner) -> int:
    """Optimiser steps between two looks: half an epoch, of few rows more."""
    return max(_LEAST_STEPS, round(tuner.epoch_steps / 2))


def folds_of(solution: Solution, seed: int) -> list[Split]:
    """Folds of the training rows, as rows of all; none where they cannot be cut.

    Parameters
    ----------
    solution
        Of the first column.
    seed
        Of the folds.
    """
    points = solution.points.take(solution.rows)
    groups = points.batches
    # One group cannot be cut; rows of it are dealt instead.
    if groups is not None and len(np.unique(groups)) < 2:
        groups = None
    names = points.codes.astype(str) if solution.column.classes else np.full(len(points.codes), "any")
    sizes = np.unique(names, return_counts=True)[1]
    if groups is None and sizes.min() < 2:
        return []
    try:
        folds = kfold(names, folds=_FOLDS, groups=groups, copies=points.copies, seed=seed)
    except InputError:
        return []
    kept = [fold for fold in folds if len(np.unique(points.codes[fold.train])) > 1]
    rows = solution.rows
    return [Split(rows[fold.train], rows[fold.test]) for fold in kept] if len(kept) > 1 else []


def choose(
    make: Callable[[Mapping[str, Target], NDArray[np.int64], float], Tuner],
    solutions: Sequence[Solution],
    folds: Sequence[Split],
    rates: Sequence[float],
    epochs: int,
) -> Choice:
    """Learning rate and looks, by the rule of this module.

    Parameters
    ----------
    make
        A tuner from targets, rows to learn from and learning rate.
    solutions
        One for each column.
    folds
        At least two.
    rates
        Learning rates to try.
    epochs
        Most passes over the rows.
    """
    # Linear again on each fold: the solution of all training rows has seen the fold that is to measure.
    maps = [[each.refit(each.points.take(fold.train)) for fold in folds] for each in solutions]
    offsets = [_unseen(each, own, folds) for each, own in zip(solutions, maps, strict=True)]

    def targets(fold: int | None) -> dict[str, Target]:
        by_column = {}
        for each, own, beside in zip(solutions, maps, offsets, strict=True):
            start = each.whole if fold is None else own[fold]
            by_column[each.column.name] = each.target(start, beside)
        return by_column

    first = folds[0]
    start = make(targets(0), first.train, rates[0]).logits(first.test)
    nothing = _loss(solutions, start, first.test)
    best, looks, chosen_logits = nothing, 0, start
    facts: dict[str, Any] = {"folds": len(folds), "rates": list(rates), "loss_at_0_steps": round(nothing, 6)}
    courses = [
        (tried, _course(make(targets(0), first.train, tried), solutions, first.test, nothing, epochs))
        for tried in rates
    ]
    begun = [(tried, _begun(course, alone=len(rates) == 1), course) for tried, course in courses]
    # A rate whose loss is NaN has no look.
    rate, seen, course = min(begun, key=lambda each: min((loss for _, loss, _ in each[1]), default=np.inf))
    for place, loss, predicted in chain(seen, course):
        if loss < best - _FALL:
            best, looks, chosen_logits = loss, place, predicted
    facts |= {"chosen_loss": round(best, 6)}
    if not looks:
        return Choice(rate=rate, looks=0, facts=facts)
    log.info("fine-tuning: rate %g for %.3g epochs, to be confirmed on other folds", rate, looks / 2)
    before, after = [start], [chosen_logits]
    for number, fold in enumerate(folds[1:], 1):
        tuner = make(targets(number), fold.train, rate)
        before.append(tuner.logits(fold.test))
        tuner.run(looks * look_steps(tuner))
        after.append(tuner.logits(fold.test))
    tests = [fold.test for fold in folds]
    # The first fold chose rate and steps, so its loss is too good; the others confirm.
    confirmed, gains = _confirmed(solutions, before[1:], after[1:], np.concatenate(tests[1:]))
    facts |= {"gains": gains}
    return Choice(
        rate=rate,
        looks=looks if confirmed else 0,
        facts=facts,
        logits={name: np.concatenate([each[name] for each in after]) for name in chosen_logits},
        folds=folds,
        targets=targets(None),
    )


def _unseen(solution: Solution, maps: Sequence[LinearMap], folds: Sequence[Split]) -> NDArray[np.float64]:
    """Offsets of every row from a map that did not see it.

    Beside a map that did, the network would find next to nothing left to learn.
    """
    offsets = solution.offsets(solution.whole)
    for own, fold in zip(maps, folds, strict=True):
        offsets[fold.test] = solution.offsets(own)[fold.test]
    return offsets


def _begun(course: Iterator[Any], *, alone: bool) -> list[Any]:
    """The first looks of a course; none where it diverges and there is another."""
    try:
        return list(islice(course, _PATIENCE))
    except TrainingError:
        if alone:
            raise
        return []


def _course(
    tuner: Tuner, solutions: Sequence[Solution], test: NDArray[np.int64], nothing: float, epochs: int
) -> Iterator[tuple[int, float, Logits]]:
    """Number, loss and logits of each look, until the loss has not fallen for some."""
    step, lowest, waited = look_steps(tuner), nothing, 0
    for place in range(1, max(1, -(-epochs * tuner.epoch_steps // step)) + 1):
        tuner.run(step)
        logits = tuner.logits(test)
        loss = _loss(solutions, logits, test)
        yield place, loss, logits
        lowest, waited = (loss, 0) if loss < lowest - _FALL else (lowest, waited + 1)
        if waited >= _PATIENCE:
            return


def _loss(solutions: Sequence[Solution], logits: Logits, rows: NDArray[np.int64]) -> float:
    """Mean of the columns' losses."""
    return float(np.mean([held_losses(each, logits[each.column.name], rows).mean() for each in solutions]))


def held_losses(
    solution: Solution, logits: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(s,)`` losses of rows that were not learned from, so weighed that their mean counts classes alike.

    Parameters
    ----------
    solution
        Says what is learned.
    logits
        ``(s, c)``.
    rows
        ``(s,)`` of all rows.
    """
    wanted = solution.column.codes[rows]
    if not solution.column.classes:
        # Over the variance of the training rows: losses of numbers and of classes can then be averaged.
        spread = max(float(solution.column.codes[solution.rows].var()), 1e-12)
        return np.asarray((logits[:, 0] - wanted) ** 2 / spread)
    # At its own best temperature, so that a step that only sharpens confidence is no gain.
    likely = probabilities(logits, temperature_of(logits, wanted))[np.arange(len(rows)), wanted]
    sizes = np.bincount(wanted)
    # As macro-F1 does, by which the result is scored.
    weights = len(rows) / ((sizes > 0).sum() * sizes[wanted])
    return np.asarray(-np.log(np.maximum(likely, 1e-12)) * weights)


def _confirmed(
    solutions: Sequence[Solution], before: Sequence[Logits], after: Sequence[Logits], rows: NDArray[np.int64]
) -> tuple[bool, dict[str, Any]]:
    """Whether the loss of these rows fell beyond chance, and macro-F1 of no column."""
    gaps, facts, kept = [], {}, True
    for each in solutions:
        name = each.column.name
        first, last = (np.concatenate([part[name] for part in parts]) for parts in (before, after))
        gaps.append(held_losses(each, first, rows) - held_losses(each, last, rows))
        gain, error = _mean_and_error(gaps[-1], each.points.batches, rows)
        facts[name] = {"gain": round(gain, 6), "standard_error": round(error, 6), "rows": len(rows)}
        if each.column.classes:
            scores = [
                float(macro_f1(each.column.codes[rows], logits.argmax(1))[0]) for logits in (first, last)
            ]
            kept = kept and scores[1] >= scores[0]
            facts[name] |= {"macro_f1_before": round(scores[0], 6), "macro_f1_after": round(scores[1], 6)}
    gain, error = _mean_and_error(np.mean(gaps, axis=0), solutions[0].points.batches, rows)
    # One-sided at 5 %: a gain within chance is not worth leaving the linear solution for.
    return kept and gain > _LIMIT * error, facts


def _mean_and_error(
    gaps: NDArray[np.float64], groups: NDArray[np.str_] | None, rows: NDArray[np.int64]
) -> tuple[float, float]:
    """Mean, and its standard error: over rows, or over groups where that is larger."""
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    if groups is not None:
        codes = np.unique(groups[rows], return_inverse=True)[1]
        # Of fewer than three groups the spread says nothing.
        if codes.max() > 1:
            sums = np.bincount(codes, gaps - gaps.mean())
            error = max(error, float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(gaps)))
    return float(gaps.mean()), error
