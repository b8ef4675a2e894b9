"""Columns, matrices and records that a task adds to a table of cells, in a file or in memory.

Dimensions: ``n`` cells · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import OutputError
from biolm.io.anndata.elements import child, put, tag

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["CellAdditions", "Coded"]


@dataclass(frozen=True, slots=True)
class Coded:
    """A categorical column.

    Parameters
    ----------
    codes
        ``(n,)`` place of each cell's category, -1 where there is none.
    categories
        ``(c,)`` names, each once.
    """

    codes: NDArray[Any]
    categories: NDArray[np.str_]

    @property
    def small(self) -> NDArray[Any]:
        """The codes in the smallest integer type that holds them, as pandas stores them."""
        return self.codes.astype(np.int8 if len(self.categories) < 128 else np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellAdditions:
    """What is added to a table of cells.

    Parameters
    ----------
    columns
        ``obs`` columns ``(n,)`` by name: numbers, flags or :class:`Coded` categories.
    matrices
        ``obsm`` arrays ``(n, c)`` by name.
    records
        ``uns["biolm"]`` entries by name: text, numbers, arrays of either and dictionaries of these.
    """

    columns: Mapping[str, NDArray[Any] | Coded] = field(default_factory=dict)
    matrices: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, root: Any) -> None:
        """Put everything into an AnnData group, HDF5 or zarr, replacing what has the same name."""
        frame = root["obs"]
        for name, values in self.columns.items():
            _put_column(frame, name, values)
        for name, matrix in self.matrices.items():
            put(child(root, "obsm"), name, matrix)
        for name, record in self.records.items():
            put(child(child(root, "uns"), "biolm"), name, record)

    def attach(self, adata: AnnData) -> None:
        """Put everything into an AnnData in memory."""
        import pandas as pd

        for name, values in self.columns.items():
            adata.obs[name] = (
                pd.Categorical.from_codes(values.codes, values.categories.tolist())
                if isinstance(values, Coded)
                else values
            )
        for name, matrix in self.matrices.items():
            adata.obsm[name] = matrix
        adata.uns["biolm"] = {**adata.uns.get("biolm", {}), **self.records}

    def check_free(self, taken: Mapping[str, Any], records: Any, *, overwrite: bool) -> None:
        """Protect columns that biolm did not write.

        Parameters
        ----------
        taken
            What ``obs`` holds already.
        records
            What ``uns["biolm"]`` holds already.

        Raises
        ------
        OutputError
            If a column exists, no record says that biolm wrote it, and ``overwrite`` is not set.
        """
        # A result of biolm under the same key may be renewed without asking.
        ours = any(name in records for name in self.records)
        clash = [name for name in self.columns if name in taken]
        if clash and not ours and not overwrite:
            raise OutputError(
                f"obs['{clash[0]}'] is in the input already and was not written by biolm; "
                "choose another key (`key`) or allow it to be overwritten (`overwrite=True`)"
            )


def _put_column(frame: Any, name: str, values: NDArray[Any] | Coded) -> None:
    """Put a column into a data frame on disk, at its end."""
    if isinstance(values, Coded):
        if name in frame:
            del frame[name]
        group = frame.create_group(name)
        tag(group, "categorical")
        group.attrs["ordered"] = False
        put(group, "codes", values.small)
        put(group, "categories", values.categories)
    else:
        put(frame, name, values)
    # anndata shows the columns that this list names, and no others.
    order = [str(column) for column in frame.attrs["column-order"]]
    if name not in order:
        frame.attrs["column-order"] = [*order, name]
