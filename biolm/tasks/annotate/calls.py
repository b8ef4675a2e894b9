"""What the heads of an annotator say of cells, and what of it enters the table of cells.

Dimensions: ``n`` cells · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.errors import ConfigError
from biolm.io.anndata.columns import CellAdditions, Coded
from biolm.io.provenance import plain
from biolm.progress import log
from biolm.tasks.annotate.annotator import Annotator, Head, default_key
from biolm.tasks.annotate.names import UNKNOWN, refuse_unknown
from biolm.tasks.annotate.ontology import read_ontology
from biolm.tasks.annotate.settings import PredictSettings

__all__ = ["Calls", "HeadOutputs", "additions", "keys", "rolled"]


# With a greater fraction of unknown rows than this, the user should look for another cause than new types.
_MOST = 0.5


@dataclass(frozen=True, eq=False)
class HeadOutputs:
    """What every head says of some cells.

    Parameters
    ----------
    probabilities
        Of each head ``(n, c)`` float32, calibrated; NaN for cells without counts.
    far, near
        ``(n, heads)`` distances from the training cells, as :class:`~biolm.tasks.annotate.frozen.Frozen`
        gives them.
    empty
        ``(n,)`` cells without counts.
    """

    probabilities: list[NDArray[np.float32]]
    far: NDArray[np.float32]
    near: NDArray[np.float32]
    empty: NDArray[np.bool_]

    @classmethod
    def nothing(cls, annotator: Annotator) -> HeadOutputs:
        """Of no cell."""
        heads = annotator.heads
        none = [np.zeros((0, len(head.classes)), np.float32) for head in heads]
        nothing = np.zeros((0, len(heads)), np.float32)
        return cls(none, nothing, nothing, np.zeros(0, bool))

    @classmethod
    def of_parts(cls, annotator: Annotator, parts: Iterable[Mapping[str, NDArray[Any]]]) -> HeadOutputs:
        """Of consecutive blocks: ``head0``, ``head1`` ..., ``far``, ``near`` and ``empty``.

        Parameters
        ----------
        annotator
            Whose heads say it.
        parts
            Arrays of consecutive blocks, as :meth:`RowPrediction.compute` gives them.
        """
        none = cls.nothing(annotator)
        pieces = list(parts)
        return cls(
            [
                np.concatenate([first, *(part[f"head{number}"] for part in pieces)])
                for number, first in enumerate(none.probabilities)
            ],
            np.concatenate([none.far, *(part["far"] for part in pieces)]),
            np.concatenate([none.near, *(part["near"] for part in pieces)]),
            np.concatenate([none.empty, *(part["empty"] for part in pieces)]),
        )


@dataclass(frozen=True, eq=False)
class Calls:
    """Predictions of one head.

    Parameters
    ----------
    key
        Name of the result.
    head
        Which classes, which threshold.
    probabilities
        ``(n, c)`` float32, calibrated; NaN for cells without counts.
    far, near
        ``(n,)`` each, as :class:`~biolm.tasks.annotate.frozen.Frozen` gives them.
    rejects
        Whether novel cells are unknown; those without counts always are.
    """

    key: str
    head: Head
    probabilities: NDArray[np.float32]
    far: NDArray[np.float32]
    near: NDArray[np.float32]
    rejects: bool

    @cached_property
    def novelty(self) -> NDArray[np.float32]:
        """``(n,)`` how unlike the training cells a cell is; NaN without counts."""
        return self._novelty_at(self.confidence)

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """``(n,)`` cells that are given no name."""
        return self._rejected(self.novelty)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """``(n,)`` probability of the likeliest class, of unknown cells too; NaN without counts."""
        return np.asarray(self.probabilities.max(1))

    @property
    def labels(self) -> Coded:
        """``(n,)`` names, ``unknown`` where a cell was rejected."""
        names = self.head.classes
        best = self.probabilities.argmax(1)
        return Coded(np.where(self.unknown, len(names), best), np.array([*names, UNKNOWN]))

    def rolled(self, coarse: Mapping[str, str]) -> Coded:
        """``(n,)`` coarse names: the likeliest by the sum over its classes, ``unknown`` above the cut-off.

        A cell that is uncertain among fine types may well be certain among coarse ones; a distant one is not.
        """
        names = list(dict.fromkeys(coarse[name] for name in self.head.classes))
        places = np.array([names.index(coarse[name]) for name in self.head.classes])
        sums = np.stack([self.probabilities[:, places == k].sum(1) for k in range(len(names))], axis=1)
        # A cell that wavers between two kinds of T cell is a sure T cell, so confidence is that of the sum.
        low = self._rejected(self._novelty_at(sums.max(1)))
        return Coded(np.where(low, len(names), sums.argmax(1)), np.array([*names, UNKNOWN]))

    def _novelty_at(self, confidence: NDArray[np.float32]) -> NDArray[np.float32]:
        score = self.head.frozen.score(confidence, self.far, self.near)
        return np.where(np.isnan(confidence), np.float32(np.nan), score)

    def _rejected(self, novelty: NDArray[np.float32]) -> NDArray[np.bool_]:
        # A cell without counts is unknown even where nothing is to be rejected: it has no likeliest class.
        return np.isnan(novelty) | ((novelty > 1) & self.rejects)

    def additions(self, record: dict[str, Any]) -> CellAdditions:
        """What enters the table of cells."""
        return CellAdditions(
            columns={
                self.key: self.labels,
                f"{self.key}_confidence": self.confidence,
                f"{self.key}_novelty": self.novelty,
            },
            matrices={f"{self.key}_probabilities": self.probabilities},
            records={self.key: record | {"classes": np.array(self.head.classes)}},
        )


def keys(annotator: Annotator, settings: PredictSettings) -> list[str]:
    """Name of each head's result.

    Parameters
    ----------
    annotator
        With its heads.
    settings
        Choices of the job.

    Raises
    ------
    ConfigError
        If a result would be named ``cell_type``, which is kept for what was measured.
    """
    names = [default_key(head.label) for head in annotator.heads]
    if settings.key is not None:
        # `key` names one result; the others keep names that tell which label they are of.
        names[0] = settings.key
    if "cell_type" in names:
        raise ConfigError("cell_type is kept for labels that people gave; choose another key (`key`)")
    return names


def additions(
    annotator: Annotator,
    settings: PredictSettings,
    outputs: HeadOutputs,
    coarse: Mapping[str, str],
    alignment: Sequence[Mapping[str, Any] | None] = (),
) -> CellAdditions:
    """What enters the table of cells, from what every head says; ``coarse`` names classes of the first.

    Parameters
    ----------
    annotator
        With its heads.
    settings
        Choices of the job.
    outputs
        What every head says.
    coarse
        Classes of the first head by fine class.
    alignment
        What was found of the query as a whole, for each head; empty where it was not asked.
    """
    columns: dict[str, Any] = {}
    matrices: dict[str, Any] = {}
    records: dict[str, Any] = {}
    names = keys(annotator, settings)
    for place, (key, head, whole) in enumerate(
        zip(names, annotator.heads, outputs.probabilities, strict=True)
    ):
        called = Calls(key, head, whole, outputs.far[:, place], outputs.near[:, place], settings.reject)
        _warn_of_shift(called)
        # Only the first label is rolled up: the ontology names its classes, not those of the others.
        if coarse and not columns:
            columns[f"{key}_coarse"] = called.rolled(coarse)
        added = called.additions(_record(annotator, called, alignment[place] if alignment else None))
        columns |= added.columns
        matrices |= added.matrices
        records |= added.records
    return CellAdditions(columns=columns, matrices=matrices, records=records)


def _warn_of_shift(called: Calls) -> None:
    """Say it where most rows are unknown: then it is seldom their types that are new."""
    share = called.unknown.mean() if len(called.far) else 0.0
    if share > _MOST:
        log.warning(
            "%.0f %% of the rows are unknown by %s, so the query as a whole is unlike the rows that were "
            "learned; fit on batches of several laboratories, or name every row without rejecting any",
            100 * share,
            called.key,
        )


def rolled(annotator: Annotator, settings: PredictSettings) -> dict[str, str]:
    """Coarse name of each class of the first head; empty where none was asked for.

    Parameters
    ----------
    annotator
        With its heads.
    settings
        Choices of the job.
    """
    if settings.ontology is None:
        return {}
    names = read_ontology(settings.ontology).roll_up(annotator.heads[0].classes, settings.coarse)
    refuse_unknown(names.values(), f"the ontology {settings.ontology}")
    return names


def _record(annotator: Annotator, called: Calls, alignment: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where the names come from, as plain facts."""
    head = called.head
    record: dict[str, Any] = plain(
        {
            "annotator": annotator.provenance,
            "model": annotator.reference["facts"],
            "label": head.label,
            "biolm_version": biolm.__version__,
            "temperature": head.frozen.temperature,
            "threshold": head.frozen.threshold,
            "novelty": None if head.frozen.novelty is None else dict(head.frozen.novelty.facts),
            "alignment": alignment,
            "unknown_cells": int(called.unknown.sum()),
            "held_out": head.report.get("held_out"),
        }
    )
    return record
