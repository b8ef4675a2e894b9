"""Which code annotates which kind of data: an entry for cells and for sequences, one for all other rows."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from biolm.jobs.modality import Modality

if TYPE_CHECKING:
    from biolm.tasks.annotate.rows import RowKind
    from biolm.tasks.annotate.sequences import SequenceKind

__all__ = ["kind_of"]

_ENTRIES = {
    "cells": "biolm.tasks.annotate.cells:CellKind",
    "sequences": "biolm.tasks.annotate.sequences:SequenceKind",
}
_OTHERS = "biolm.tasks.annotate.rows:RowKind"


def kind_of(modality: Modality) -> RowKind | SequenceKind:
    """How data of a modality are annotated; a kind without an entry by the vectors of its rows alone."""
    module, _, name = _ENTRIES.get(modality.reads, _OTHERS).partition(":")
    kind: RowKind | SequenceKind = getattr(import_module(module), name)()
    return kind
