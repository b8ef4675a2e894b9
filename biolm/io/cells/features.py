"""10x matrices hold features of several types; a source reads those of one.

Dimensions: ``f`` features of the file · ``g`` features kept · ``n`` cells of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock
from biolm.io.cells.source import OpenCells, Rows, Table, resolve_matrix

__all__ = ["Features", "KeptGenes", "feature_cells"]

EXPRESSION = "Gene Expression"


@dataclass(frozen=True, slots=True)
class Features:
    """The feature table of a 10x matrix.

    Parameters
    ----------
    names
        ``(f,)`` symbols.
    columns
        ``gene_ids``, ``feature_types``, ``genome``, as far as the file has them; ``(f,)`` each.
    """

    names: NDArray[np.str_]
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)


class KeptGenes:
    """Some genes of a matrix, renumbered.

    Parameters
    ----------
    rows
        The whole matrix, ``f`` columns.
    keep
        ``(f,)`` true where a column is kept.
    """

    def __init__(self, rows: Rows, keep: NDArray[np.bool_]) -> None:
        self._rows = rows
        self._target = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
        self.shape = (rows.shape[0], int(keep.sum()))

    def read(self, start: int, stop: int) -> CellBlock:
        """The cells ``start`` to ``stop``."""
        block = self._rows.read(start, stop)
        columns = self._target[block.indices]
        kept = columns >= 0
        before = np.concatenate([[0], np.cumsum(kept)])
        return CellBlock(start, block.data[kept], columns[kept], before[block.indptr], self.shape[1])

    def close(self) -> None:
        """Free what reading needed."""
        self._rows.close()


def feature_cells(
    features: Features,
    *,
    rows: Rows,
    obs: Table,
    path: Path,
    kind: str,
    matrix: str,
    on_close: Callable[[], None],
) -> OpenCells:
    """Source over the features of one type: ``X`` for gene expression, else the type's own name.

    Raises
    ------
    InputError
        If there are none of that type.
    """
    types = features.columns.get("feature_types", np.full(len(features.names), EXPRESSION))
    offered = ["X" if name == EXPRESSION else str(name) for name in dict.fromkeys(types.tolist())]
    chosen = resolve_matrix(matrix, offered, path)
    keep = types == (EXPRESSION if chosen == "X" else chosen)
    return OpenCells(
        path=path,
        kind=kind,
        matrix=chosen,
        rows=rows if keep.all() else KeptGenes(rows, keep),
        obs=obs,
        var=_kept(features, keep),
        offered=offered,
        on_close=on_close,
    )


def _kept(features: Features, keep: NDArray[np.bool_]) -> Table:
    """The feature table of the genes kept."""
    columns: dict[str, Callable[[], NDArray[np.str_]]] = {
        name: lambda values=values: values[keep]  # type: ignore[misc]
        for name, values in features.columns.items()
    }
    return Table(lambda: features.names[keep], columns)
