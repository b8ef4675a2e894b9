"""What annotation needs of a kind of data: labelled rows to learn from, and rows to name.

A kind of data without an entry here is annotated by the vectors of its rows alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.jobs.modality import Modality
from biolm.jobs.spool import Arrays, Parts
from biolm.scoring.splits import Split
from biolm.tasks.annotate.annotator import Annotator, Head
from biolm.tasks.annotate.frozen import Points
from biolm.tasks.annotate.labelled import Labels
from biolm.tasks.annotate.settings import FitSettings, PredictSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Kind", "Prediction", "Training", "Wanted", "kind_of"]

_ENTRIES = {
    "cells": "biolm.tasks.annotate.cells:CellKind",
    "sequences": "biolm.tasks.annotate.sequences:SequenceKind",
}
_OTHERS = "biolm.tasks.annotate.rows:RowKind"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which labels are learned.

    Parameters
    ----------
    names
        Columns.
    labels
        The table that holds them; None where the data do.
    """

    names: Sequence[str]
    labels: str | Path | None


class Training(Protocol):
    """Labelled rows and a model that fit each other.

    Attributes
    ----------
    parts
        What a frozen method reads: everything first, then its parts, which are measured beside it.
    distances
        Whether rows far from all that were learned are unknown.
    """

    parts: Sequence[str]
    distances: bool

    @property
    def columns(self) -> Sequence[Labels]:
        """What is learned; classes are empty where the labels are numbers."""
        ...

    def points(self, column: Labels) -> Points:
        """What a frozen method learns a column from."""
        ...

    def split(self, column: Labels) -> Split:
        """Places among the points to learn from and to measure on."""
        ...

    def baselines(self, column: Labels, split: Split) -> Sequence[Any]:
        """Scores of the baselines on the same split."""
        ...

    def about(self, column: Labels, split: Split) -> dict[str, Any]:
        """What was split, and how: the beginning of the report."""
        ...

    def more(
        self, column: Labels, points: Points, split: Split, measured: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The end of the report, from the classifiers of each part."""
        ...

    def train(self) -> tuple[Any, list[Head], Any]:
        """The model trained further, its heads, and what writes it."""
        ...

    def annotator(self, reference: Mapping[str, Any], heads: Sequence[Head], **trained: Any) -> Annotator:
        """The annotator with these heads; ``trained`` is a model of its own and what writes it."""
        ...


class Prediction(Protocol):
    """Rows and an annotator that fit each other, ready to run.

    Attributes
    ----------
    kind
        Names what a block gives, for merging.
    key
        Name of the first result.
    ends
        Rows at which blocks begin and end.
    """

    kind: str

    @property
    def key(self) -> str:
        """Name of the first result."""
        ...

    @property
    def ends(self) -> NDArray[np.int64]:
        """``(k + 1,)`` rows at which blocks begin and end."""
        ...

    def blocks(self, first: int, last: int) -> Iterator[Any]:
        """The blocks ``first`` to ``last``."""
        ...

    def compute(self, block: Any) -> Arrays:
        """What the heads say of one block."""
        ...

    def check(self, target: Path | None) -> None:
        """Check, before any work, that the result can be written; without a target, that it can be made."""
        ...

    def same(self) -> dict[str, Any]:
        """What makes two jobs the same: ``input`` and ``options``."""
        ...

    def facts(self) -> dict[str, Any]:
        """What merging needs beside it."""
        ...

    def write(self, parts: Parts, made: Path, form: str) -> dict[str, Any] | None:
        """Write the whole result; by key, rows of each class where these are counted."""
        ...

    def table(self, parts: Iterable[Arrays], given: AnnData | None, *, copy: bool) -> AnnData:
        """The whole result in memory."""
        ...


class Kind(Protocol):
    """How a kind of data is annotated.

    Attributes
    ----------
    page
        Whether the annotator's folder gets a page for people.
    rereads
        Whether merging shards reads the annotator again.
    """

    page: bool
    rereads: bool

    def training(
        self, modality: Modality, source: Any, wanted: Wanted, model: Any, settings: FitSettings
    ) -> Training:
        """Read labelled rows.

        Parameters
        ----------
        modality, source
            Kind of the data, and the open data.
        wanted
            Which labels.
        model
            The loaded model.
        settings
            Choices of the job.
        """
        ...

    def form(self, target: Path, settings: PredictSettings) -> tuple[str, tuple[str, ...]]:
        """The format of an output, and endings of the files of it; of a shard, those that it lacks."""
        ...

    def prediction(
        self, modality: Modality, source: Any, annotator: Annotator, settings: PredictSettings
    ) -> Prediction:
        """Check that rows and annotator fit, before any work."""
        ...


def kind_of(modality: Modality) -> Kind:
    """How data of a modality are annotated."""
    module, _, name = _ENTRIES.get(modality.reads, _OTHERS).partition(":")
    found: Kind = getattr(import_module(module), name)()
    return found
