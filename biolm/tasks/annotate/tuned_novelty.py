"""Novelty of rows beside a network that was fine-tuned: set on the folds that chose how far to train it.

Dimensions: ``h`` rows of all folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biolm.scoring.splits import Split
from biolm.tasks.annotate.distance import Distance, fit_space, most_components
from biolm.tasks.annotate.frozen import fit_novelty
from biolm.tasks.annotate.novelty import Novelty, doubt_of
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["novelty_beside"]


def novelty_beside(
    points: Points,
    rows: NDArray[np.int64],
    folds: Sequence[Split],
    confidence: NDArray[np.float64],
    threshold: float,
    kinds: Sequence[str],
    settings: FitSettings,
) -> tuple[Distance, Novelty | None]:
    """Distances from the training rows with their limits, and the score that joins them with confidence.

    Parameters
    ----------
    points
        All rows.
    rows
        Training rows.
    folds
        Of the training rows, as rows of all.
    confidence
        ``(h,)`` of the rows of all folds, from a network that did not see them.
    threshold
        Confidence below which a row is unknown.
    kinds
        Spaces in which distances are measured.
    settings
        Choices of the job.
    """
    learned = points.take(rows)
    most = most_components(min(len(fold.train) for fold in folds))

    def unseen(kind: str) -> NDArray[np.float64]:
        parts = []
        for fold in folds:
            tested = points.take(fold.test)
            vectors = tested.factors if kind == "factors" else tested.vectors
            space = fit_space(points.take(fold.train), kind, most)
            parts.append(space.distances(vectors, tested.table))
        return np.concatenate(parts)

    far = np.stack([unseen(kind) for kind in kinds], axis=1)
    spaces = [fit_space(learned, kind, most) for kind in kinds]
    distance = Distance.limited(spaces, far, settings.reject / 2)
    near = None if points.factors is None else unseen("factors")
    known = np.concatenate([np.isin(points.codes[fold.test], points.codes[fold.train]) for fold in folds])
    test_points = points.take(np.concatenate([fold.test for fold in folds]))
    doubt = doubt_of(confidence, threshold, distance.over_limits(far))
    return distance, fit_novelty(learned, test_points, known, doubt, near, settings)
