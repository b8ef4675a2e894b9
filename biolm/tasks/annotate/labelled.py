"""Labelled cells of a file, read once: vectors of the model, counts, labels, batches.

Dimensions: ``n`` cells that are used · ``d`` width of the model's vectors · ``m`` genes of the file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells import CellBlock, CellSource, label_text
from biolm.jobs.cells import CellEmbedding
from biolm.progress import log, progress
from biolm.scoring.splits import copies_of
from biolm.tasks.annotate.expression import counts_in, gene_names
from biolm.tasks.annotate.names import refuse_unknown
from biolm.tasks.annotate.settings import FitSettings
from biolm.vocab.genes import GeneVocabulary

if TYPE_CHECKING:
    from biolm.tasks.annotate.factor_space import FactorSpace

__all__ = [
    "ChosenCells",
    "Labelled",
    "Labels",
    "Wanted",
    "batches_in",
    "chosen_rows",
    "coded",
    "read_labels",
    "read_training",
]

_MISSING = ("", "nan", "NaN", "None", "NA", "<NA>")


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


@dataclass(frozen=True, eq=False)
class Labels:
    """One label column.

    Parameters
    ----------
    name
        Of the column.
    classes
        ``c`` names in alphabetical order; empty for numbers.
    codes
        ``(n,)`` class of each row, -1 where it has none; or the numbers.
    """

    name: str
    classes: tuple[str, ...]
    codes: NDArray[Any]

    def take(self, rows: NDArray[np.intp]) -> Labels:
        """The labels of some cells; classes stay."""
        return Labels(self.name, self.classes, self.codes[rows])


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled rows in memory.

    Parameters
    ----------
    vectors
        ``(n, d)`` float32 of the model.
    counts
        Sparse float32 ``(n, m)``; no column where the rows are no cells.
    vocabulary
        The ``m`` genes; None where the rows are no cells.
    labels
        One for each label column.
    batches
        ``(n,)`` names of batches; None where none were given.
    copies
        ``(n,)`` cells with the same counts share a number.
    factors
        ``(n, w)`` float32 places of cells in factor space; None where they have none.
    """

    vectors: NDArray[np.float32]
    counts: Any
    vocabulary: GeneVocabulary | None
    labels: tuple[Labels, ...]
    batches: NDArray[np.str_] | None
    copies: NDArray[np.int64]
    factors: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.vectors)


def read_labels(
    offered: Sequence[str],
    column: Callable[[str], NDArray[Any]],
    names: Sequence[str],
    leave_out: Sequence[str],
) -> tuple[Labels, ...]:
    """The label columns of a file; rows without a label or with one that is left out get -1.

    Parameters
    ----------
    offered, column
        Names of the file's columns, and what gives one of them.
    names
        Columns to learn.
    leave_out
        Labels that are no class.

    Raises
    ------
    InputError
        If a column is missing or constant, or has a class of one cell or one called ``unknown``.
    """
    return tuple(_labels(name, _column(offered, column, name, "label"), leave_out) for name in names)


def _labels(name: str, column: NDArray[Any], leave_out: Sequence[str]) -> Labels:
    values = label_text(column)
    used = ~np.isin(values, [*_MISSING, *leave_out])
    return Labels(name, *coded(values, used, f"label column '{name}'", "cell"))


def coded(
    values: NDArray[np.str_], used: NDArray[np.bool_], where: str, unit: str, hint: str = ""
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes, and the class of each row, -1 where it has none.

    Parameters
    ----------
    values, used
        ``(n,)`` labels, and which rows have one.
    where
        Names them in messages.
    unit
        What has a label: ``cell`` or ``sequence``.
    hint
        What else can be done with classes that are too small.

    Raises
    ------
    InputError
        If there are fewer than two classes, or one of one row or called ``unknown``.
    """
    classes, sizes = np.unique(values[used], return_counts=True)
    if len(classes) < 2:
        content = f"only '{classes[0]}'" if len(classes) else "no value"
        raise InputError(f"{where} holds {content}; an annotator needs at least two classes to tell apart")
    # A lone cell is on one side only, so its class is either never learned or never tested.
    if sizes.min() < 2:
        lone = classes[sizes == 1]
        shown = ", ".join(f"'{textwrap.shorten(str(label), 30)}'" for label in lone[:5])
        more = f" and {len(lone) - 5} more" if len(lone) > 5 else ""
        raise InputError(
            f"{where} has classes of one {unit} ({shown}{more}), which cannot be both learned and tested; "
            f"leave them out (`leave_out`) or merge them with another class{hint}"
        )
    refuse_unknown(classes, where)
    codes = np.full(len(values), -1, np.int64)
    codes[used] = np.searchsorted(classes, values[used])
    return tuple(classes.tolist()), codes


def batches_in(
    offered: Sequence[str], column: Callable[[str], NDArray[Any]], batch: str | None
) -> NDArray[np.str_] | None:
    """``(n,)`` names of batches; None where no column of them is named.

    Parameters
    ----------
    offered, column
        As for :func:`read_labels`.
    batch
        Name of the column.

    Raises
    ------
    InputError
        If the column is missing or holds one batch.
    """
    if batch is None:
        return None
    batches = label_text(_column(offered, column, batch, "batch"))
    if len(np.unique(batches)) < 2:
        raise InputError(f"batch column '{batch}' holds one batch, so none can be left out; drop `batch`")
    return batches


def _column(
    offered: Sequence[str], column: Callable[[str], NDArray[Any]], name: str, role: str
) -> NDArray[Any]:
    """A column of the table of rows.

    Raises
    ------
    InputError
        If it is not there.
    """
    if name not in offered:
        listed = ", ".join(offered[:12]) + (", ..." if len(offered) > 12 else "")
        raise InputError(
            f"there is no {role} column '{name}' in obs; the file has {listed or 'no columns of cells'}"
        )
    return column(name)


def chosen_rows(labels: tuple[Labels, ...], settings: FitSettings) -> NDArray[np.intp]:
    """Rows of the cells that are used: those with every label, or a sample of them within each class.

    The sample gives every class of the first label the same ceiling, so that rare ones stay whole.

    Parameters
    ----------
    labels
        Columns to learn.
    settings
        Choices of the job.
    """
    rows = np.flatnonzero(np.all([column.codes >= 0 for column in labels], axis=0))
    if len(rows) <= settings.max_cells:
        return rows
    log.warning("%s labelled cells, of which %s are used", f"{len(rows):,}", f"{settings.max_cells:,}")
    codes = labels[0].codes[rows]
    order = np.random.default_rng(settings.seed).permutation(len(rows))
    # The place of each cell among its own class in random order; the lowest places of all classes are kept.
    place = np.empty(len(rows), np.int64)
    for label in np.unique(codes):
        members = order[codes[order] == label]
        place[members] = np.arange(len(members))
    kept = np.lexsort((order, place))[: settings.max_cells]
    return np.sort(rows[kept])


def read_training(
    job: CellEmbedding,
    labels: tuple[Labels, ...],
    settings: FitSettings,
    space: FactorSpace | None = None,
) -> Labelled:
    """Embed the cells of a job and keep their counts, in one pass over the file.

    Parameters
    ----------
    job
        The cells and the model.
    labels
        Columns to learn.
    settings
        Choices of the job.
    space
        Factor space, to place the cells in it as well.

    Raises
    ------
    InputError
        If the batch column is missing or holds one batch.
    """
    source = job.source
    batches = batches_in(source.obs_columns(), source.obs_column, settings.batch)
    columns = source.gene_columns()
    species = [job.match.report.species] if job.match.report.species else None
    vocabulary = GeneVocabulary.of(gene_names(columns, job.match), species=species)
    # A vocabulary of the file's own genes, not of the model: genes that the model does not know carry labels
    # too.
    match = vocabulary.match(columns, column=job.match.report.column, minimum=0)
    from scipy.sparse import vstack

    parts, vectors, factors = [], [], []
    with progress("embedding", source.n_cells, show=settings.progress) as advance:
        for block in job.blocks(0, len(job.ends) - 1):
            parts.append(counts_in(block, match, len(vocabulary)))
            vectors.append(job.compute(block)["vectors"])
            if space is not None:
                factors.append(space.place(block, vectors[-1]))
            advance(len(block))
    counts = vstack(parts, format="csr")
    return Labelled(
        vectors=np.concatenate(vectors),
        counts=counts,
        vocabulary=vocabulary,
        labels=labels,
        batches=batches,
        # Identical cells (a store concatenated twice) on both sides of a split would make any score perfect.
        copies=copies_of(counts),
        factors=np.concatenate(factors) if factors else None,
    )


class ChosenCells:
    """Some cells of a source, as a source of their own; see :class:`biolm.io.cells.CellSource`.

    Parameters
    ----------
    whole
        The open source; closing it is left to whoever opened it.
    chosen
        ``(n,)`` its rows.
    """

    def __init__(self, whole: CellSource, chosen: NDArray[np.int64]) -> None:
        self.path, self.kind, self.matrix = whole.path, whole.kind, whole.matrix
        self.n_cells, self.n_genes = len(chosen), whole.n_genes
        self.random_access, self.notes = whole.random_access, whole.notes
        self.whole, self.chosen = whole, chosen
        self.places = None if whole.places is None else whole.places[chosen]
        # What does not depend on the rows is the whole source's.
        self.matrices = whole.matrices
        self.watch = whole.watch
        self.gene_columns = whole.gene_columns
        self.obs_columns = whole.obs_columns

    def close(self) -> None:
        """Nothing: the whole source is its owner's."""

    def __enter__(self) -> ChosenCells:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def blocks(self, rows: int = 8192, start: int = 0, stop: int | None = None) -> Iterator[CellBlock]:
        """The chosen cells from ``start`` to ``stop``, at most ``rows`` in memory at a time."""
        last = self.n_cells if stop is None else stop
        for first in range(start, last, rows):
            yield self.take(np.arange(first, min(first + rows, last)))

    def take(self, rows: NDArray[np.int64]) -> CellBlock:
        """Some of the chosen cells."""
        return self.whole.take(self.chosen[rows])

    def unsplit(self) -> ChosenCells:
        """The same cells with the features of every type."""
        return ChosenCells(self.whole.unsplit(), self.chosen)

    def cell_names(self) -> NDArray[np.str_]:
        """``(n,)`` names."""
        return self.whole.cell_names()[self.chosen]

    def obs_column(self, name: str) -> NDArray[Any]:
        """``(n,)`` one column of the cell table."""
        return self.whole.obs_column(name)[self.chosen]
