"""Vectors of sequences, or of their tokens, with all that is written beside them.

Dimensions: ``n`` rows: sequences, or tokens of all of them · ``m`` sequences · ``d`` width of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.anndata.rows import Rows

__all__ = ["FORMATS", "SequenceRows"]

FORMATS = ("h5ad", "zarr", "parquet", "npy", "pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRows:
    """What the rows of a result are.

    Parameters
    ----------
    names
        ``(m,)`` of the sequences, as in the file.
    counts
        ``(m,)`` rows of each: 1, or its tokens; 0 for one that was left out.
    lengths
        ``(m,)`` letters of each.
    descriptions
        ``(m,)`` rest of each header, '' where there is none.
    spans
        ``(n, 2)`` first letter and end of each token, from 0; None where a row is a whole sequence.
    """

    names: NDArray[np.str_]
    counts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    descriptions: NDArray[np.str_]
    spans: NDArray[np.int64] | None = None

    @property
    def kept(self) -> NDArray[np.str_]:
        """Names of the sequences that were not left out."""
        return self.names[self.counts > 0]

    @property
    def index(self) -> NDArray[np.str_]:
        """``(n,)`` a name for each row; tokens have their first letter, from 1, after a colon."""
        if self.spans is None:
            return self.kept
        starts = np.char.add(":", (self.spans[:, 0] + 1).astype(str))
        return np.asarray(np.char.add(np.repeat(self.names, self.counts), starts))

    def columns(self) -> dict[str, NDArray[Any]]:
        """What is known of each row."""
        if self.spans is not None:
            names = np.repeat(self.names, self.counts)
            return {"sequence": names, "start": self.spans[:, 0], "end": self.spans[:, 1]}
        nonempty = self.counts > 0
        columns: dict[str, NDArray[Any]] = {"length": self.lengths[nonempty]}
        texts = self.descriptions[nonempty]
        return {**columns, "description": texts} if (texts != "").any() else columns

    def table(self) -> Rows:
        """The rows as a new table holds them."""
        nonempty = self.counts > 0
        return Rows(
            index=self.index,
            columns=self.columns(),
            beside={} if self.spans is None else {"rows": self.counts[nonempty].tolist()},
            names=self.kept,
        )
