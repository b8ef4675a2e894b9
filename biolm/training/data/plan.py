"""Which examples make which batch: a pure function of seed, epoch and lengths, for any number of processes.

Dimensions: ``n`` training examples · ``b`` examples of a batch.

Examples are dealt out in chunks of neighbours. The chunks are shuffled; some of them make a pool; the
examples of a pool are shuffled, sorted by length and packed to the token budget, and its batches are
shuffled. Batches of all epochs form one sequence; process ``r`` of ``R`` takes batches ``r``, ``r + R`` ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens, pack

__all__ = ["Group", "Plan", "groups"]


class Group(NamedTuple):
    """Batches of one pool that one process takes, in order.

    ``batches`` pairs the number of each batch in the whole sequence with its example numbers ``(b,)``.
    """

    epoch: int
    batches: list[tuple[int, NDArray[np.int64]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the examples are dealt out.

    Parameters
    ----------
    rows
        ``(n,)`` numbers of the examples, ascending.
    lengths
        ``(n,)`` their tokens.
    seed, chunk, pool, budget
        As in :class:`~biolm.training.config.RunConfig` and its data section.
    shuffle
        Off for validation: pools are then runs of neighbours, the same in every epoch.

    Examples
    --------
    >>> plan = Plan(rows=np.arange(6), lengths=np.full(6, 4), seed=0, chunk=2, pool=4, budget=8)
    >>> [len(batches) for batches in plan.epoch(0)]
    [2, 1]
    """

    rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    seed: int
    chunk: int
    pool: int
    budget: int
    shuffle: bool = True

    def epoch(self, number: int) -> list[list[NDArray[np.int64]]]:
        """Batches of each pool; every example is in one batch."""
        # By the epoch's number, so that a run that goes on needs no state of a generator.
        draws = np.random.Generator(np.random.PCG64([self.seed, 2, number]))
        starts = np.arange(0, len(self.rows), self.chunk)
        if self.shuffle:
            draws.shuffle(starts)
        width = max(1, self.pool // self.chunk)
        pools = []
        for first in range(0, len(starts), width):
            places = (starts[first : first + width, None] + np.arange(self.chunk)).reshape(-1)
            places = places[places < len(self.rows)]
            if self.shuffle:
                # Examples of one length are sorted by their place, so this shuffles who shares a batch.
                draws.shuffle(places)
            ends = np.concatenate([[0], np.cumsum(self.lengths[places])])
            shape = Tokens(ids=np.empty(0, np.int32), offsets=ends, index=self.rows[places])
            # Ascending, as files are read; attention does not look from one example to the next anyway.
            batches = [np.sort(self.rows[places[chosen]]) for chosen in pack(shape, self.budget)]
            # Packing sorts by length, and a run of long examples would bias the steps.
            order = draws.permutation(len(batches)) if self.shuffle else range(len(batches))
            pools.append([batches[place] for place in order])
        return pools

    def batches(self, epochs: int) -> int:
        """How many batches the first epochs make."""
        return sum(len(pool) for number in range(epochs) for pool in self.epoch(number))


def groups(plan: Plan, *, rank: int, ranks: int, start: int, stop: int, epochs: int = 0) -> Iterator[Group]:
    """What one process reads.

    Parameters
    ----------
    plan
        The whole order.
    rank, ranks
        Number of this process and of all.
    start, stop
        Its own batches from ``start`` up to ``stop``, counted from the beginning of the run.
    epochs
        End after that many epochs; 0 to go on until ``stop``.
    """
    number, epoch = 0, 0
    while not epochs or epoch < epochs:
        for pool in plan.epoch(epoch):
            mine = [
                (number + place, rows)
                for place, rows in enumerate(pool)
                if (number + place) % ranks == rank and start <= (number + place) // ranks < stop
            ]
            number += len(pool)
            if mine:
                yield Group(epoch, mine)
            if number // ranks >= stop:
                return
        epoch += 1
