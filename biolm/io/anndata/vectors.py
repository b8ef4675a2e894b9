"""Vectors of cells with all that is written beside them, and how they enter an AnnData store.

Dimensions: ``n`` cells · ``d`` width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError, OutputError
from biolm.io.anndata.columns import CellAdditions
from biolm.io.anndata.elements import child, put_chunks

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["PLACES", "Addition", "CellVectors", "check_key"]

_ROWS, _VALUES = 8192, 2**24  # of a chunk, at most

PLACES = "spatial"
"""Name in ``obsm`` of where cells lie in their section, as scanpy has it."""


class Addition(Protocol):
    """A result that knows how to enter an AnnData, on disk and in memory."""

    def add(self, root: Any) -> None:
        """Put itself into an AnnData group, HDF5 or zarr."""
        ...

    def attach(self, adata: AnnData) -> None:
        """Put itself into an AnnData in memory."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CellVectors:
    """Finished vectors, in the order of the cells.

    Parameters
    ----------
    key
        Name in ``obsm``, for example ``X_cellfactors``.
    vectors
        ``(n, d)`` float32, in memory or mapped from a file.
    empty
        ``(n,)`` cells without a count in any gene of the model; their vectors are zero.
    provenance
        Plain facts for ``uns["biolm"][key]``.
    transform
        What is done to rows ``(n, d)`` on their way out, such as centring.
    genes
        Whether the columns are genes: they are then the matrix ``X`` and no vector in ``obsm``.
    """

    key: str
    vectors: NDArray[np.float32]
    empty: NDArray[np.bool_]
    provenance: dict[str, Any]
    transform: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    genes: bool = False

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """Consecutive row chunks, transformed where that was asked for; of wide rows fewer at a time."""
        rows = max(1, min(_ROWS, _VALUES // max(self.vectors.shape[1], 1)))
        for start in range(0, len(self.vectors), rows):
            part = np.asarray(self.vectors[start : start + rows])
            yield part if self.transform is None else self.transform(part)

    def add(self, root: Any) -> None:
        """Put vectors, provenance and the flag of empty cells into an AnnData group, HDF5 or zarr.

        Sets ``obsm[key]``, ``uns["biolm"][key]`` and, where there are empty cells, ``obs[key + "_empty"]``;
        ``obs[key + "_uncertainty"]`` where the model knows how much the file's genes can tell it.
        """
        place, name = (root, "X") if self.genes else (child(root, "obsm"), self.key)
        put_chunks(place, name, self.vectors.shape, self.chunks(), np.float32)
        CellAdditions(columns=self._columns(), records={self.key: self.provenance}).add(root)

    def attach(self, adata: AnnData) -> None:
        """Put the same into an AnnData in memory."""
        if self.genes:
            adata.X = self.whole()
        else:
            adata.obsm[self.key] = self.whole()
        CellAdditions(columns=self._columns(), records={self.key: self.provenance}).attach(adata)

    def _columns(self) -> dict[str, NDArray[Any]]:
        """What stands beside the vectors in the table of cells."""
        columns: dict[str, NDArray[Any]] = {}
        if self.empty.any():
            columns[f"{self.key}_empty"] = self.empty
        uncertainty = self.provenance.get("panel", {}).get("uncertainty")
        if uncertainty is not None:
            # Nothing is known of an empty cell: its factors have the variance of the prior.
            column = np.where(self.empty, 1, uncertainty)
            columns[f"{self.key}_uncertainty"] = column.astype(np.float32)
        return columns

    def whole(self) -> NDArray[np.float32]:
        """All of ``(n, d)`` in memory."""
        parts = list(self.chunks())
        return np.concatenate(parts) if parts else np.zeros(self.vectors.shape, np.float32)


def check_key(root: Any, key: str, *, overwrite: bool) -> None:
    """Check that vectors may enter a store, and protect an embedding that biolm did not write.

    Parameters
    ----------
    root
        The open store.
    key
        Name of the result.
    overwrite
        Whether a result of that name may be replaced.

    Raises
    ------
    InputError
        If the store has the layout of anndata before 0.7.
    OutputError
        If ``obsm[key]`` exists, ``uns["biolm"][key]`` does not, and ``overwrite`` is not set.
    """
    for name in ("obs", "obsm", "uns"):
        if name in root and not hasattr(root[name], "keys"):
            raise InputError(
                f"{name} has the layout of anndata before 0.7, to which nothing can be added; "
                "rewrite the file with a current anndata, or write the vectors alone (`format='parquet'`)"
            )
    ours = f"uns/biolm/{key}" in root
    if f"obsm/{key}" in root and not ours and not overwrite:
        raise OutputError(
            f"obsm['{key}'] is in the input already and was not written by biolm; "
            "choose another key (`key`) or allow it to be overwritten (`overwrite=True`)"
        )
