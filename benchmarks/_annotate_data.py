"""Labelled sets in memory, as the annotation benchmarks read them.

Dimensions: ``n`` cells · ``d`` width · ``m`` genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells import open_cells
from biolm.jobs.cells import prepare
from biolm.models.registry import load
from biolm.scoring.splits import labelled
from biolm.tasks.annotate.expression import log_normalised
from biolm.tasks.annotate.labelled import ChosenCells, read_training
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import FitSettings
from biolm.vocab.genes import GeneVocabulary

__all__ = ["Cells", "points_of", "read"]


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells with a label: vectors ``(n, d)``, counts ``(n, m)``, log-normalised table, names, copies."""

    vectors: NDArray[np.float32]
    counts: Any
    table: Any
    labels: NDArray[np.str_]
    batches: NDArray[np.str_] | None
    copies: NDArray[np.int64]
    vocabulary: GeneVocabulary


def read(
    path: Path, label: str, leave_out: tuple[str, ...] = (), batch: str | None = None, model: str = "genetext"
) -> Cells:
    """Read a set and embed it."""
    settings = FitSettings(batch=batch)
    with open_cells(path) as source:
        names = source.obs_column(label).astype(str)
        rows = labelled(names, leave_out)
        job = prepare(ChosenCells(source, rows), load(model), settings)
        held = read_training(job, (), settings)
    return Cells(
        vectors=held.vectors,
        counts=held.counts,
        table=log_normalised(held.counts),
        labels=names[rows],
        batches=held.batches,
        copies=held.copies,
        vocabulary=held.vocabulary,
    )


def points_of(cells: Cells, *, use_batches: bool) -> Points:
    """What the frozen methods learn from; classes in alphabetical order."""
    classes, codes = np.unique(cells.labels, return_inverse=True)
    batches = cells.batches if use_batches else None
    return Points(cells.vectors, cells.table, codes, len(classes), batches, cells.copies)
