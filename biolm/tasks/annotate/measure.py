"""Fit the parts of a frozen method, and score each on held-out rows.

Dimensions: ``n`` rows · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.annotate.frozen import Frozen, chosen_on_enough, fit_variants, refit
from biolm.tasks.annotate.labelled import Labels
from biolm.tasks.annotate.numbers import NumberRow, fit_numbers, number_row
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.score import Row, row
from biolm.tasks.annotate.settings import FitSettings

if TYPE_CHECKING:
    from biolm.tasks.annotate.rows import RowTraining
    from biolm.tasks.annotate.sequences import SequenceTraining

__all__ = ["fit_numbers_of", "fit_parts", "fit_whole", "part_row"]


def fit_parts(
    points: Points,
    column: Labels,
    parts: Sequence[str],
    training: RowTraining | SequenceTraining,
    settings: FitSettings,
) -> Mapping[str, Frozen]:
    """Calibrated classifiers, or regressions of numbers, by what they read.

    Parameters
    ----------
    points
        To learn from.
    column
        What is learned.
    parts
        What each reads.
    training
        Says whether distances count.
    settings
        Choices of the job.
    """
    if not column.classes:
        maps = fit_numbers_of(points, parts, settings)
        return {part: Frozen(each, (part,), 1.0, 0.0) for part, each in maps.items()}
    # What reads expression of cells reads k-mers of sequences.
    names = {part: "expression" if part == "kmers" else part for part in parts}
    fitted = fit_variants(points, settings.classifier, list(names.values()), distances=training.distances)
    return {part: fitted[name] for part, name in names.items()}


def fit_whole(
    points: Points,
    column: Labels,
    measured: Mapping[str, Frozen],
    train: NDArray[np.int64],
    training: RowTraining | SequenceTraining,
    settings: FitSettings,
) -> Frozen:
    """The first part on all rows, after it was measured on some that it did not see.

    Parameters
    ----------
    points
        All rows.
    column
        What is learned.
    measured
        What :func:`fit_parts` found on the rows ``train``.
    train
        Numbers of rows.
    training
        Says which part is first.
    settings
        Choices of the job.
    """
    # Of many rows the choice is the same on a fifth more, and choosing fits every member on every fold again.
    first = training.parts[0]
    if column.classes and chosen_on_enough(points.take(train), settings.seed):
        return refit(measured[first], points, settings.classifier)
    return fit_parts(points, column, [first], training, settings)[first]


def fit_numbers_of(points: Points, parts: Sequence[str], settings: FitSettings) -> Mapping[str, Any]:
    """Ridge regressions by what they read; see :func:`biolm.tasks.annotate.numbers.fit_numbers`.

    Parameters
    ----------
    points
        To learn from; their codes are numbers.
    parts
        What each reads.
    settings
        Choices of the job.
    """
    groups: NDArray[Any] = np.zeros(0) if points.batches is None else points.batches.astype(np.int64)
    return fit_numbers(points.vectors, points.table, points.codes, groups, parts, settings.seed)


def part_row(
    part: str, fitted: Frozen, tested: Points, column: Labels, settings: FitSettings
) -> Row | NumberRow:
    """Scores of one part on held-out rows.

    Parameters
    ----------
    part
        What it reads.
    fitted
        The classifier, or the regression.
    tested
        Held-out rows.
    column
        What is learned.
    settings
        Choices of the job.
    """
    # Methods that train start from the linear one.
    name = "biolm knn" if settings.method == "knn" else f"biolm linear, {part}"
    if not column.classes:
        return number_row(name, tested.codes, fitted.scorer.logits(tested.vectors, tested.table)[:, 0])
    scored = row(name, tested.codes, fitted.probabilities(tested.vectors, tested.table), settings.seed)
    scored.facts["members"] = ", ".join(fitted.recipe)
    return scored
