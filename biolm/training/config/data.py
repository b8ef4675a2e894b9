"""Settings of the data of a training run; see :mod:`biolm.training.config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from biolm.adapters.cells.downsample import Downsampling
from biolm.errors import ConfigError

__all__ = ["DataConfig", "LabelConfig", "check_positive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfig:
    """Where the labels of one column come from; an obs column of the same name needs no such section.

    Parameters
    ----------
    column
        Name of the obs column (or of the table's column) in the files, if it is another.
    table
        Of sequences: a tab- or comma-separated table, with a header, whose first column names the records, or
        with a row for each record in their order.
    genes
        A tab- or comma-separated table, with a header, whose first column names genes as the vocabulary does:
        each gene's token then has that label, in every cell.
    classes
        Names of the classes in the order of their numbers; others count as missing. By default all, sorted.
    missing
        Values that mean that there is no label, beside empty ones.
    """

    column: str | None = None
    table: str | None = None
    genes: str | None = None
    classes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A class's place is its number: named twice it would have two.
        if len(set(self.classes)) != len(self.classes):
            raise ConfigError("data.labels: classes must name each class once")
        if self.table is not None and self.genes is not None:
            raise ConfigError("data.labels: give a table of records or one of genes, not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where the examples come from and how they are dealt out.

    Parameters
    ----------
    paths
        Files, folders, globs, or text files that list paths (``.txt``): cells, or stored tokens of
        ``biolm tokenize``. All of one kind. Empty only where the tokens are given from Python.
    labels
        Where the label columns of the objectives come from; without a section, an obs column of that name.
    vocabulary
        Folder of a saved model whose genes and tokeniser are used; without it the genes of the data, and
        medians over their cells. Stored tokens need it.
    layer
        Matrix of the cells: ``X``, a layer, or ``raw``.
    gene_column
        ``index`` or the ``var`` column with gene names; found by default.
    minimum_match
        Least fraction of a file's genes that the vocabulary, or without one the files before, must know.
    species
        ``human`` or ``mouse``, where the names of the genes do not show it.
    allow_normalised
        Take values that are not counts.
    downsample
        Of cells: down-sample the counts of some of them, anew in each epoch, by the settings of
        :class:`~biolm.adapters.cells.downsample.Downsampling`. Held-out cells stay whole.
    zeros
        Of cells with values: so many genes that were measured and not expressed come, with value 0, beside
        the expressed ones, others in each epoch; ``zero_rates``, ``zero_probability`` and ``nonzero_only`` of
        objectives need them.
    validation
        Fraction of the examples held out.
    batch_tokens
        Most tokens of a batch; a longer example makes a batch of its own.
    chunk
        Neighbouring examples that are read together. By default 1, a true random order, where examples are
        mapped into memory (stores), and 64 where they are read from files.
    pool
        Examples shuffled and sorted by length at a time: bounds the memory of a loader.
    workers
        Processes that read and mask; the order and the result do not depend on it.
    long
        Of sequences longer than the model ``crop`` takes another piece in each epoch, ``window`` makes an
        example of each piece; ``auto`` crops proteins and windows DNA.
    letters
        Of sequences with residues or bases that the model does not know: ``unknown`` reads them as its
        unknown token, ``skip`` leaves the whole record out, ``error`` stops.
    groups
        What is held out together: of cells an obs column such as ``donor``; of sequences a tab-separated
        table (group, member), or ``clusters`` of similar ones, found by shared k-mers.
    identity
        Sequences at least so alike share one of the ``clusters``; by default 0.5 of residues, 0.8 of bases.
    """

    paths: tuple[str, ...] = ()
    labels: Mapping[str, LabelConfig] = field(default_factory=dict)
    vocabulary: str | None = None
    layer: str = "X"
    gene_column: str | None = None
    minimum_match: float = 0.1
    species: Literal["human", "mouse"] | None = None
    allow_normalised: bool = False
    downsample: Downsampling | None = None
    zeros: int = 0
    validation: float = 0.05
    batch_tokens: int = 16_384
    chunk: int | None = None
    pool: int = 4096
    workers: int = 0
    long: Literal["auto", "crop", "window"] = "auto"
    letters: Literal["error", "unknown", "skip"] = "unknown"
    groups: str | None = None
    identity: float | None = None

    def __post_init__(self) -> None:
        check_positive(self, "data", "batch_tokens", "pool")
        if self.chunk is not None:
            check_positive(self, "data", "chunk")
        if self.workers < 0 or self.zeros < 0:
            raise ConfigError(
                f"data.workers and zeros must be 0 or more, not {self.workers} and {self.zeros}"
            )
        if self.identity is not None and (self.groups != "clusters" or not 0 < self.identity <= 1):
            raise ConfigError("data.identity is over 0, at most 1, and goes with data.groups: clusters")
        for name in ("validation", "minimum_match"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"data.{name} must lie in [0, 1), not {getattr(self, name)}")


def check_positive(section: Any, name: str, *keys: str) -> None:
    """Refuse numbers below 1.

    Parameters
    ----------
    section
        Of the config.
    name
        Of the section.
    keys
        Of its settings.

    Raises
    ------
    ConfigError
        With the path of the setting.
    """
    for key in keys:
        if getattr(section, key) < 1:
            raise ConfigError(f"{name}.{key} must be at least 1, not {getattr(section, key)}")
