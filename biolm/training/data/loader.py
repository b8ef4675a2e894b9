"""Batches in the planned order, read and masked in worker processes.

Each worker has a loader of its own and takes whole pools in turn, so that no cell is read twice; batches
are handed over one by one in the planned order, whatever the number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.synchronize import Event
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from biolm.batch import Batch
from biolm.objectives.base import Prepared
from biolm.training.data.examples import Examples
from biolm.training.data.labels import Labels
from biolm.training.data.plan import Group, Plan, groups

__all__ = ["Item", "Reader", "Stream"]

# A batch with its number in the whole sequence.
Item = tuple[int, Prepared]


class Prepare(Protocol):
    """Chooses what a batch is to predict; see :meth:`biolm.objectives.base.Objective.prepare`."""

    def __call__(
        self,
        batch: Batch,
        keys: torch.Tensor,
        epoch: int,
        seed: int,
        labels: Mapping[str, torch.Tensor] | None = None,
        *,
        number: int | None = None,
    ) -> Prepared:
        """The batch with its targets."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What turns planned batches into prepared ones.

    Parameters
    ----------
    examples
        The data.
    plan
        Which examples make which batch.
    prepare
        Chooses and masks: an objective's method of that name.
    seed
        Of the run.
    frozen_epoch
        Mask the same in every epoch, for validation.
    labels
        Columns that the objectives read; None where they read none.
    """

    examples: Examples
    plan: Plan
    prepare: Prepare
    seed: int
    frozen_epoch: bool = False
    labels: Labels | None = None

    def read(self, group: Group, ranks: int = 1) -> Iterator[Item]:
        """Batches of one pool; its examples are read once.

        What all examples of a batch share (gene panels) goes by the step, which is the same on all ``ranks``.

        Parameters
        ----------
        group
            The pool.
        ranks
            How many processes train; what a whole batch shares goes by the step, the same on all.
        """
        wanted = np.sort(np.concatenate([rows for _, rows in group.batches]))
        epoch = 0 if self.frozen_epoch else group.epoch
        # What is held out is read whole.
        examples = self.examples if self.frozen_epoch else self.examples.at(epoch)
        tokens = examples.read(wanted)
        for number, rows in group.batches:
            batch = Batch.from_tokens(tokens, np.searchsorted(wanted, rows))
            keys = torch.from_numpy(rows)
            labels = None if self.labels is None else self.labels.read(rows, batch)
            yield number, self.prepare(batch, keys, epoch, self.seed, labels, number=number // ranks)


@dataclass(kw_only=True)
class _WorkerPools(IterableDataset[Item]):
    """The pools of one worker."""

    reader: Reader
    rank: int
    ranks: int
    start: int
    stop: int
    epochs: int
    worker: int = 0
    workers: int = 1

    def __iter__(self) -> Iterator[Item]:
        for number, group in enumerate(self.groups()):
            # Whole pools: a worker that had single batches would read each pool again.
            if number % self.workers == self.worker:
                yield from self.reader.read(group, self.ranks)

    def groups(self) -> Iterator[Group]:
        return groups(
            self.reader.plan,
            rank=self.rank,
            ranks=self.ranks,
            start=self.start,
            stop=self.stop,
            epochs=self.epochs,
        )


@dataclass(kw_only=True, eq=False)
class Stream:
    """Batches of one process, in order; each time it is iterated it goes on where it was.

    Parameters
    ----------
    reader
        Makes the batches.
    rank, ranks
        Number of this process and of all.
    start, stop
        Its own batches from ``start`` up to ``stop``.
    epochs
        End after that many epochs; 0 to go on until ``stop``.
    workers
        Processes that read; 0 to read here.
    pauses
        An iteration ends before each own batch whose number is a multiple of this; 0 never.
    """

    reader: Reader
    rank: int = 0
    ranks: int = 1
    start: int = 0
    stop: int = 1 << 62
    epochs: int = 0
    workers: int = 0
    pauses: int = 0
    _running: Iterator[Item] | None = field(default=None, repr=False)
    _done: int = 0

    def __iter__(self) -> Iterator[Item]:
        if self._running is None:
            self._running, self._done = self._items(), self.start
        while True:
            item = next(self._running, None)
            if item is None:
                self._running = None
                return
            self._done += 1
            yield item
            if self.pauses and self._done % self.pauses == 0:
                if self._done >= self.stop:
                    self._running = None
                return

    @property
    def pausing(self) -> bool:
        """Whether an iteration has ended before all batches were handed over."""
        return self._running is not None

    def _items(self) -> Iterator[Item]:
        pools = _WorkerPools(
            reader=self.reader,
            rank=self.rank,
            ranks=self.ranks,
            start=self.start,
            stop=self.stop,
            epochs=self.epochs,
        )
        if not self.workers:
            yield from pools
            return
        ending = multiprocessing.Event()
        # Before multiprocessing ends its processes and waits for them.
        Finalize(self, ending.set, exitpriority=1)
        loaders = [iter(self._loader(pools, worker, ending)) for worker in range(self.workers)]
        for number, group in enumerate(pools.groups()):
            for _ in group.batches:
                # In the order of the plan, whoever is quicker: the sequence is that of a run without workers.
                yield next(loaders[number % self.workers])

    def _loader(self, pools: _WorkerPools, worker: int, ending: Event) -> DataLoader[Any]:
        # Its own generator: drawing the workers' seed from the global one would change dropout.
        return DataLoader(
            replace(pools, worker=worker, workers=self.workers),
            batch_size=None,
            num_workers=1,
            prefetch_factor=4,
            generator=torch.Generator(),
            worker_init_fn=partial(_deaf, ending=ending),
        )


def _deaf(worker: int, *, ending: Event) -> None:  # noqa: ARG001  # torch gives a worker its number
    """Leave signals to the process that trains, which needs the batches of the step that it finishes.

    A scheduler sends them to all processes. At the end that process sends its workers one too.
    """

    def hear(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler's signature
        if ending.is_set():
            os._exit(0)

    # A terminal sends Ctrl-C to all processes of the group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, hear)
