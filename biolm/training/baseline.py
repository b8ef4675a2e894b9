"""What a model must beat: the objective's own way of guessing, learnt from training batches."""

from __future__ import annotations

from biolm.objectives.base import Criterion
from biolm.objectives.baseline import Baseline
from biolm.progress import progress, speaks
from biolm.training.loader import Reader, Stream

__all__ = ["learnt_baseline"]

_BATCHES = 200  # frequencies and means hardly move after that many


def learnt_baseline(objective: Criterion, reader: Reader) -> Baseline | None:
    """Count the first batches of the first epoch; None for an objective whose metrics hold its baseline.

    The batches are those that any process of the run would count, resumed or not, so nothing is saved.
    """
    baseline = objective.baseline()
    if baseline is not None:
        total = min(_BATCHES, reader.plan.batches(1))
        with progress("counting what guessing knows", total, show=speaks(), unit="batches") as advance:
            for _, prepared in Stream(reader=reader, stop=_BATCHES, epochs=1):
                baseline.update(prepared)
                advance(1)
    return baseline
