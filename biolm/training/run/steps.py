"""Batches of whole optimiser steps: each knows what the whole step counts; the last one is filled up.

A step of several accumulated batches, on several processes, is one large batch: the loss of each item must be
divided by the count of all of them. So the batches of a step are looked at together before the first is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from biolm.objectives.base import Criterion, Prepared
from biolm.training.data.loader import Stream
from biolm.training.data.plan import groups

__all__ = ["StepBatch", "Steps"]


class StepBatch(NamedTuple):
    """One of the batches of an optimiser step.

    Parameters
    ----------
    number
        Of the batch in the run.
    prepared
        The batch.
    counts
        Of each term whose count is known beforehand: that of this process's batches of the step, over
        their number.
    """

    number: int
    prepared: Prepared
    counts: dict[str, float]


@dataclass(kw_only=True)
class Steps:
    """Batches of a stream, step by step; like the stream it goes on where it was.

    An epoch's batches need not be a multiple of what a step takes. Steps reach over the end of an epoch into
    the next; after the last epoch what lacks to a whole step is filled with batches of no weight, so that
    each example is used once an epoch and all processes make the same steps.

    Parameters
    ----------
    stream
        Batches of this process.
    objective
        Says what it counts.
    accumulate
        Batches of a step on this process.
    """

    stream: Stream
    objective: Criterion
    accumulate: int
    _given: int = -1

    def __iter__(self) -> Iterator[StepBatch]:
        if self._given < 0:
            self._given = self.stream.start
        pending: list[StepBatch] = []
        for number, prepared in self.stream:
            # A batch alone is weighted by what its score counts.
            counts = self.objective.counts(prepared) if self.accumulate > 1 else {}
            pending.append(StepBatch(number, prepared, counts))
            if len(pending) == self.accumulate:
                yield from self._counted(pending)
                pending = []
        # An optimiser step is whole: the last one is filled up with batches of no weight.
        if pending or self._ended:
            while (self._given + len(pending)) < self.stream.stop:
                pending.append(self._filler(self._given + len(pending)))
                if len(pending) == self.accumulate:
                    yield from self._counted(pending)
                    pending = []

    @property
    def _ended(self) -> bool:
        """Whether the stream has no more, rather than pausing."""
        return not self.stream.pausing

    def _counted(self, batches: list[StepBatch]) -> Iterator[StepBatch]:
        # All batches of a step share one denominator, so that accumulating changes nothing.
        mean = {
            name: sum(batch.counts[name] for batch in batches) / len(batches)
            for name in (batches[0].counts if batches else {})
        }
        self._given += len(batches)
        for batch in batches:
            yield batch._replace(counts=mean)

    def _filler(self, place: int) -> StepBatch:
        """The first batch of the run, without weight."""
        reader = self.stream.reader
        group = next(groups(reader.plan, rank=0, ranks=1, start=0, stop=1))
        # What it holds does not matter, only that the model can run on it.
        _, prepared = next(reader.read(group))
        number = place * self.stream.ranks + self.stream.rank
        counts = dict.fromkeys(self.objective.counts(prepared) if self.accumulate > 1 else {}, 0.0)
        others = tuple(replace(other, real=False) for other in prepared.others)
        return StepBatch(number, replace(prepared, real=False, others=others), counts)
