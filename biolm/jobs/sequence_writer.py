"""Writes vectors of sequences: a new table with a row a sequence or token, or tensors.

Dimensions: ``n`` rows: sequences, or tokens of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.anndata.rows import Rows
from biolm.io.anndata.sequence_rows import FORMATS, SequenceRows
from biolm.io.anndata.vectors import Addition, CellVectors
from biolm.jobs.rows import RowWriter
from biolm.jobs.spool import Arrays, Parts

__all__ = ["SequenceWriter"]


class SequenceWriter(RowWriter):
    """As :class:`~biolm.jobs.rows.RowWriter`, with the letters of each row and ``.pt`` files."""

    formats = FORMATS

    def rows(self, parts: Iterable[Arrays]) -> Rows:
        """What the rows of the result are."""
        return _rows(parts).table()

    def write(self, target: Path, form: str, result: Addition, parts: Parts, source: Any) -> None:
        """Write a table with a row a sequence or token, or a dictionary of tensors."""
        if form != "pt":
            super().write(target, form, result, parts, source)
            return
        import torch

        assert isinstance(result, CellVectors)

        rows = _rows(parts)
        content: dict[str, Any] = {
            "key": result.key,
            "names": rows.kept.tolist(),
            "vectors": torch.from_numpy(result.whole()),
            "biolm": result.provenance,
        }
        if rows.spans is not None:
            # Where each sequence's tokens end, as a file of tensors has no table of rows.
            ends = np.concatenate([[0], np.cumsum(rows.counts[rows.counts > 0])])
            content["offsets"] = torch.from_numpy(ends)
        torch.save(content, target)


def _rows(parts: Iterable[Arrays]) -> SequenceRows:
    """What the rows of the result are, from all blocks."""
    names = ("names", "counts", "lengths", "descriptions", "spans")
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for part in parts:
        for name in names:
            if name in part:
                columns[name].append(part[name])
    return SequenceRows(
        names=np.concatenate(columns["names"]).astype(str),
        counts=np.concatenate(columns["counts"]),
        lengths=np.concatenate(columns["lengths"]),
        descriptions=np.concatenate(columns["descriptions"]).astype(str),
        spans=np.concatenate(columns["spans"]) if columns["spans"] else None,
    )
