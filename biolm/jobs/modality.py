"""Kinds of data by name: how a file is recognised, opened and embedded; nothing else asks what a file holds.

Dimensions: ``n`` rows of a source (cells, sequences) · ``k`` blocks · ``d`` width of the embedding.

A kind of data is one entry. Other packages add theirs through the entry point group ``biolm.modalities``,
whose values name a :class:`Modality`. Its sources give blocks of rows;
:class:`~biolm.jobs.rows.RowEmbedding` and :class:`~biolm.jobs.rows.RowWriter` do the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, ConfigError
from biolm.io.anndata.vectors import Addition, CellVectors
from biolm.jobs.spool import Arrays, Parts

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.jobs.precision import Choice

__all__ = ["Embedding", "Modality", "Source", "Writer", "available", "loaded_for", "modality_of"]


class Source(Protocol):
    """Open data of one kind. Use as a context manager.

    Attributes
    ----------
    path
        The file or folder; None for data in memory.
    """

    path: Path | None

    def __len__(self) -> int:
        """``n``."""
        ...

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Rows ``start`` to ``stop`` in order, ``rows`` a block.

        Parameters
        ----------
        rows
            Most rows of a block.
        start, stop
            First row, and the one after the last; None for the end.
        """
        ...

    def names(self) -> NDArray[np.str_]:
        """``(n,)`` a name for each row."""
        ...

    def columns(self) -> dict[str, NDArray[Any]]:
        """What is known of each row, ``(n,)`` each: labels, coordinates, groups."""
        ...


class Embedding(Protocol):
    """A source and a model that fit each other, ready to run.

    It has beside these the open source.
    """

    @property
    def model(self) -> Any:
        """The loaded model, adapted to the source where that was asked for."""
        ...

    @property
    def settings(self) -> Any:
        """The user's choices."""
        ...

    def with_settings(self, settings: Any, choice: Choice | None = None) -> Any:
        """The same source and model with other choices.

        Parameters
        ----------
        settings
            In place of those that it has.
        choice
            What :mod:`biolm.jobs.precision` decided, for the records.
        """
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What the model's ``describe`` says."""
        ...

    @property
    def ends(self) -> NDArray[np.int64]:
        """``(k + 1,)`` rows of the result at which blocks begin and end, the same in every run."""
        ...

    def blocks(self, first: int, last: int) -> Iterator[Any]:
        """The blocks ``first`` to ``last`` of the source, in order.

        Parameters
        ----------
        first, last
            Blocks, ``last`` not included.
        """
        ...

    def compute(self, block: Any) -> Arrays:
        """Of one block: ``vectors`` ``(·, d)``, and what else writing the result needs."""
        ...

    def same(self) -> dict[str, Any]:
        """What makes two jobs the same: ``input`` and ``options``."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Plain facts that tell how the vectors are made; no date and no path."""
        ...


class Writer(Protocol):
    """Writes the vectors of a kind of data to files and into memory."""

    @property
    def formats(self) -> tuple[str, ...]:
        """What can be written; ``npy`` has a JSON file beside it."""
        ...

    @property
    def needs_source(self) -> bool:
        """Whether writing reads the source again."""
        ...

    def identity(self, source: Any) -> dict[str, Any]:
        """What distinguishes one input from another, where writing needs the source."""
        ...

    def result(
        self, vectors: NDArray[np.float32], key: str, provenance: dict[str, Any], *, centre: bool
    ) -> CellVectors:
        """All vectors with what is written beside them.

        Parameters
        ----------
        vectors
            ``(n, d)`` of all rows.
        key
            Name of the result.
        provenance
            How they were made.
        centre
            Whether the mean of the data set is taken out.
        """
        ...

    def check(self, source: Any, form: str, key: str, *, overwrite: bool) -> None:
        """Check, before any work, that the result can be written in a format.

        Parameters
        ----------
        source
            The open input.
        form
            Format of the output.
        key
            Name of the result.
        overwrite
            Whether a result of that name may be replaced.
        """
        ...

    def size(self, source: Any, form: str) -> int:
        """Bytes that writing takes beside the vectors, about.

        Parameters
        ----------
        source
            The open input.
        form
            Format of the output.
        """
        ...

    def write(self, target: Path, form: str, result: Addition, parts: Parts, source: Any) -> None:
        """Write the result to a path that does not exist; ``source`` is None where it is not needed.

        Stores take any addition, other formats vectors.

        Parameters
        ----------
        target
            Path that does not exist yet.
        form
            Format of the output.
        result
            What :meth:`result` made.
        parts
            Results of all blocks.
        source
            The open input; None where it is not needed.
        """
        ...

    def table(self, source: Any, result: Addition, parts: Iterable[Arrays]) -> AnnData:
        """The result in memory.

        Parameters
        ----------
        source
            The open input.
        result
            What :meth:`result` made.
        parts
            Results of all blocks.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Modality:
    """A kind of data.

    Parameters
    ----------
    name
        What it is called.
    read_as
        The kind of data that models which read it name, and whose options it takes; its own name by default.
    recognises
        Whether data (a path, or an object in memory) are of this kind.
    open
        Opens data for the settings of a job.
    embedding
        Makes an :class:`Embedding` of an open source, a loaded model and the settings of a job; the fourth
        argument opens another matrix of the same data, so that a refusal can name one that would do.
    writer
        Writes vectors.
    load
        Loads a model of the kind by name or folder; :func:`biolm.models.registry.load` by default.
    tokens
        Makes what tokenises an open source, from the torch-free half of a model and the settings of a job
        (:mod:`biolm.jobs.tokens`); None where the kind has no tokens.
    training
        A :class:`~biolm.training.data.kinds.Kind`, in entries of other packages; None where no run trains on
        this kind.
    """

    name: str
    recognises: Callable[[Any], bool]
    open: Callable[[Any, Any], AbstractContextManager[Any]]
    embedding: Callable[[Any, Any, Any, Any], Embedding]
    writer: Writer
    tokens: Callable[[Any, Any, Any], Any] | None = None
    training: Any = None
    read_as: str = ""
    load: Callable[[str | Path], Any] | None = None

    @property
    def reads(self) -> str:
        """The kind of data that models of it read."""
        return self.read_as or self.name


_BUILT_IN = {
    "sequences": "biolm.jobs.sequences:MODALITY",
    "sections": "biolm.jobs.sections:MODALITY",
    "documents": "biolm.text.documents:MODALITY",
    "cells": "biolm.jobs.cells:MODALITY",
}
_LAST = "cells"  # its readers say what can be read, so that they refuse what nobody recognises


@cache
def available() -> dict[str, Modality]:
    """Every kind of data by name, in the order in which they are asked whether they recognise a file.

    Examples
    --------
    >>> sorted(available())
    ['cells', 'documents', 'sections', 'sequences']
    """
    modalities: dict[str, Modality] = {}
    for name, place in _BUILT_IN.items():
        module, _, attribute = place.partition(":")
        modalities[name] = getattr(import_module(module), attribute)
    for point in entry_points(group="biolm.modalities"):
        # setdefault: another package adds kinds and replaces none of these.
        modalities.setdefault(point.name, point.load())
    return {name: modalities[name] for name in sorted(modalities, key=lambda name: name == _LAST)}


def modality_of(data: Any) -> Modality:
    """The kind of some data, by what their entry recognises.

    Examples
    --------
    >>> modality_of("proteins.fasta").name, modality_of("cells.h5ad").name
    ('sequences', 'cells')
    """
    entries = available()
    return next((entry for entry in entries.values() if entry.recognises(data)), entries[_LAST])


def loaded_for(modality: str, model: Any, *, whole: bool = True) -> Any:
    """The model itself, or the one of that name or folder.

    Parameters
    ----------
    modality
        The kind of data that it must read.
    model
        A name, a folder, a hub id or a loaded model.
    whole
        Off: of a name or folder only what tokenises, without weights.

    Raises
    ------
    ConfigError
        If it reads another kind of data.
    CheckpointError
        If a folder holds a bare transformer: what makes a model of such data of it is missing.
    """
    from biolm.models.registry import load, load_tokenizer

    own = available()[modality].load
    reader = (own or (load if whole else load_tokenizer))(model) if isinstance(model, str | Path) else model
    if getattr(reader, "modality", None) != modality:
        named = model if isinstance(model, str | Path) else getattr(model, "name", type(model).__name__)
        if not hasattr(reader, "modality") and isinstance(model, str | Path):
            _refuse_bare(modality, named)
        raise ConfigError(f"model {named} reads no {modality}; choose a model of {modality}")
    return reader


def _refuse_bare(modality: str, folder: str | Path) -> None:
    """Say which files would make a model of some data of the bare transformer in a folder."""
    from biolm.models.registry import available as models

    wanted = [
        entry for entry in models() if entry.reads == modality and entry.files.startswith("config.json")
    ]
    if wanted:
        files = "; ".join(f"{entry.name} needs {entry.files}" for entry in wanted)
        raise CheckpointError(
            f"{folder} holds a transformer without what it needs to read {modality}; put the missing files "
            f"of its system beside it ({files}), or choose a model of {modality}"
        )
