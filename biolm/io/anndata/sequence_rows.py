"""Vectors of sequences, or of their tokens, with all that is written beside them.

Dimensions: ``n`` rows: sequences, or tokens of all of them · ``m`` sequences · ``d`` width of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.anndata.convert import creating
from biolm.io.anndata.elements import child, put_frame, tag
from biolm.io.anndata.result import side_car
from biolm.io.anndata.table import write_npy, write_parquet
from biolm.io.anndata.vectors import CellVectors

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["FORMATS", "SequenceRows", "to_anndata", "write_rows"]

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
        held = self.counts > 0
        columns: dict[str, NDArray[Any]] = {"length": self.lengths[held]}
        texts = self.descriptions[held]
        return {**columns, "description": texts} if (texts != "").any() else columns


def write_rows(target: Path, form: str, rows: SequenceRows, result: CellVectors) -> None:
    """Write a finished result; for ``npy`` the JSON file lies beside it.

    Parameters
    ----------
    target
        Path to write; must not exist.
    form
        One of :data:`FORMATS` but ``pt``, which needs torch.
    rows
        What each row is.
    result
        Vectors, key and provenance.
    """
    if form == "parquet":
        write_parquet(target, rows.index, result, rows.columns())
    elif form == "npy":
        counts: Mapping[str, Any] = (
            {} if rows.spans is None else {"rows": rows.counts[rows.counts > 0].tolist()}
        )
        write_npy(target, side_car(target), rows.kept, result, counts)
    else:
        with creating(target, form) as root:
            tag(root, "anndata")
            for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
                child(root, name)
            put_frame(root, "obs", rows.index, rows.columns())
            put_frame(root, "var", np.zeros(0, str), {})
            result.add(root)


def to_anndata(rows: SequenceRows, result: CellVectors) -> AnnData:
    """The result in memory: a row a sequence (or token), no genes, the vectors in ``obsm``."""
    import anndata
    import pandas as pd

    adata = anndata.AnnData(obs=pd.DataFrame(rows.columns(), index=rows.index))
    adata.obsm[result.key] = result.whole()
    adata.uns["biolm"] = {result.key: result.provenance}
    return adata
