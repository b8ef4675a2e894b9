"""The input of an objective: a batch with something to predict, and the views that make it.

Dimensions: ``b`` examples of a batch · ``t`` tokens · ``m`` tokens that are predicted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.errors import InputError
from biolm.objectives.draws import Draw, hash_bits

__all__ = ["Chain", "Plain", "Prepared", "View"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch with something to predict.

    Parameters
    ----------
    batch
        What the core reads.
    original
        The batch before anything was masked.
    keys
        ``(b,)`` number of each example in the whole data set.
    rows
        ``(m,)`` tokens of ``batch`` that are predicted; None where no token is.
    targets
        ``(m,)`` what is to be found there.
    labels
        Columns ``(b,)`` of the examples, or ``(t,)`` of the tokens of ``original``: classes (int64, -100 for
        unknown) or numbers (float32, NaN for unknown).
    extra
        Further tensors of a view, by name.
    others
        Further views of the same examples, each with a forward pass of its own.
    seeds
        ``(b,)`` seeds for what is drawn while scoring.
    real
        Off for a batch that only keeps its process in step with others: it teaches nothing, and its examples
        are no negatives of theirs.
    """

    batch: Batch
    original: Batch
    keys: Tensor
    rows: Tensor | None = None
    targets: Tensor | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    others: tuple[Prepared, ...] = ()
    seeds: Tensor | None = None
    real: bool = True

    def to(self, device: torch.device | str) -> Prepared:
        """The same on another device."""

        def move(column: Tensor | None) -> Tensor | None:
            return None if column is None else column.to(device, non_blocking=True)

        def move_all(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: column.to(device, non_blocking=True) for name, column in columns.items()}

        return replace(
            self,
            batch=self.batch.to(device),
            original=self.original.to(device),
            keys=self.keys.to(device, non_blocking=True),
            rows=move(self.rows),
            targets=move(self.targets),
            labels=move_all(self.labels),
            extra=move_all(self.extra),
            others=tuple(other.to(device) for other in self.others),
            seeds=move(self.seeds),
        )

    def label(self, column: str) -> Tensor:
        """A label column ``(b,)``, or ``(t,)`` where tokens are labelled.

        Raises
        ------
        InputError
            If the data have no such column.
        """
        if column not in self.labels:
            raise InputError(f"the objective needs the label column {column!r}; the data do not give it")
        return self.labels[column]

    def example_label(self, column: str) -> Tensor:
        """A label column, once for each document of :attr:`batch`: views may hold an example several times.

        Raises
        ------
        InputError
            If the data have no such column.
        """
        return self._for_each_document(self.label(column))

    @property
    def pairs(self) -> Tensor:
        """``(b / 2,)`` which pairs of documents take part in a contrast."""
        usable = self.extra.get("usable")
        if usable is None or not self.real:
            return torch.full((len(self.batch) // 2,), self.real, device=self.batch.ids.device)
        return usable

    @property
    def document_seeds(self) -> Tensor:
        """:attr:`seeds`, once for each document of :attr:`batch`."""
        assert self.seeds is not None
        return self._for_each_document(self.seeds)

    def _for_each_document(self, column: Tensor) -> Tensor:
        return torch.cat([column] * (len(self.batch) // max(len(column), 1)))


class View(ABC):
    """How the core's input is made of a batch: hashable, so that objectives of equal views share a pass.

    Subclasses are frozen dataclasses.

    Attributes
    ----------
    asks
        Whether it chooses tokens that are to be predicted, so that no other view may change them.
    stacks
        Whether it leaves each example one example, so that it may stand on another view.
    """

    asks: ClassVar[bool] = False
    stacks: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Choose and mask; the same arguments give the same result on every machine."""


@dataclass(frozen=True, slots=True)
class Plain(View):
    """The batch as it is."""

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Nothing is masked."""
        return Prepared(batch=batch, original=batch, keys=draw.keys)


@dataclass(frozen=True, slots=True)
class Chain(View):
    """One view on top of another: what ``first`` makes, ``second`` masks parts of."""

    first: View
    second: View

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Both in turn; views of an example draw independently."""
        below = self.first(batch, draw)
        copies = len(below.batch) // max(len(batch), 1)
        keys = torch.cat([draw.keys, *(hash_bits(draw.keys, copy) for copy in range(1, copies))])
        above = self.second(below.batch, replace(draw, keys=keys))
        return replace(above, keys=draw.keys, extra={**below.extra, **above.extra})
