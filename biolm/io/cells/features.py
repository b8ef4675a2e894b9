"""Matrices may hold features of several types, such as genes and antibodies; a source reads those of one.

Dimensions: ``f`` features of the file · ``g`` features kept · ``n`` cells of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock
from biolm.io.cells.source import OpenCells, Rows, Table

__all__ = ["EXPRESSION", "KeptGenes", "feature_types", "modalities", "offered_types", "typed_cells"]

EXPRESSION = "X"
"""The name under which a file's gene expression is offered, whatever the file calls it."""

COLUMNS = ("feature_types", "feature_type", "modality")
GENES = {"gene expression", "gex", "rna", "mrna", "gene", "genes", "expression"}
# As 10x, muon and the benchmark sets of the field spell what is no gene.
OTHERS = {
    *("antibody capture", "antigen capture", "crispr guide capture", "multiplexing capture", "custom"),
    # Xenium's controls.
    *("negative control probe", "negative control codeword", "unassigned codeword", "genomic control"),
    *("deprecated codeword", "blank codeword"),
    *("adt", "protein", "proteins", "prot", "hto", "peaks", "peak", "atac", "chromatin accessibility"),
}

Masks = Mapping[str, NDArray[np.bool_]]


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


def modalities(types: NDArray[np.str_]) -> dict[str, NDArray[np.bool_]]:
    """Which features ``(f,)`` are of which type: ``X`` for gene expression, other types by their own name.

    A column in which no type is known as something other than genes (biotypes, 'unknown' throughout) does
    not divide the features: all are gene expression. Features without a type go with the genes.

    Examples
    --------
    >>> {name: mask.sum() for name, mask in modalities(np.array(["Gene Expression", "ADT", "ADT"])).items()}
    {'X': np.int64(1), 'ADT': np.int64(2)}
    >>> {name: mask.sum() for name, mask in modalities(np.array(["protein_coding", "lncRNA"])).items()}
    {'X': np.int64(2)}
    """
    known, place = np.unique(types, return_inverse=True)
    folded = [name.strip().lower() for name in known.tolist()]
    genes = np.array([name in GENES for name in folded], bool)
    others = np.array([name in OTHERS for name in folded], bool)
    # A column of gene biotypes has the same name in some files; only known other types split a table.
    if not others.any():
        return {EXPRESSION: np.ones(len(types), bool)}
    if genes.any():
        # Beside typed genes, only what has no type may still be a gene.
        genes |= np.array([name in {"", "unknown", "nan", "none", "na"} for name in folded], bool)
    else:
        genes = ~others
    masks = {EXPRESSION: genes[place]} if genes.any() else {}
    order = [int(number) for number in dict.fromkeys(place.tolist()) if not genes[number]]
    return masks | {str(known[number]): place == number for number in order}


def feature_types(table: Table) -> dict[str, NDArray[np.bool_]]:
    """The features of each type by the table of genes, as :func:`modalities` groups them; may be of one."""
    for name in COLUMNS:
        if name in table.columns:
            types = table.columns[name]()
            if types.dtype.kind == "U":
                return modalities(types)
    return {}


def offered_types(types: Mapping[str, Masks]) -> dict[str, tuple[str, str]]:
    """The spellings that a file's matrices are chosen by, each with its matrix and feature type.

    Parameters
    ----------
    types
        For each matrix the features of each type; empty where all are genes.

    Examples
    --------
    >>> kinds = {"X": np.array([True, False]), "ADT": np.array([False, True])}
    >>> list(offered_types({"X": kinds, "layers/counts": kinds, "raw/X": {}}))
    ['X', 'X/ADT', 'layers/counts', 'layers/counts/ADT', 'raw/X']
    """
    return {
        matrix if kind == EXPRESSION else f"{matrix}/{kind}": (matrix, kind)
        for matrix, kinds in types.items()
        for kind in (kinds or [EXPRESSION])
    }


def typed_cells(
    types: Masks,
    feature_type: str,
    *,
    path: Path | None,
    kind: str,
    matrix: str,
    rows: Rows,
    obs: Table,
    var: Table,
    offered: list[str],
    on_close: Callable[[], None],
) -> OpenCells:
    """Source over the features of one type.

    Parameters
    ----------
    types, feature_type
        The features of each type, and the type that is read.
    path, kind, matrix, rows, obs, var, offered, on_close
        As for :class:`~biolm.io.cells.source.OpenCells`, over all features.
    """
    keep = types.get(feature_type)
    split = keep is not None and not keep.all()
    source = OpenCells(
        path=path,
        kind=kind,
        matrix=matrix,
        rows=KeptGenes(rows, keep) if split and keep is not None else rows,
        obs=obs,
        var=_kept(var, keep) if split and keep is not None else var,
        offered=offered,
        on_close=on_close,
    )
    if split:
        source.notes = (_left_out(types, feature_type, path, matrix),)
        source.every_feature = (rows, var)
    return source


def _left_out(types: Masks, feature_type: str, path: Path | None, matrix: str) -> str:
    """What is read of a matrix of several types, what is not, and how to choose it."""
    base = matrix.removesuffix(f"/{feature_type}")
    others = [
        f"{int(mask.sum()):,} of {'Gene Expression' if name == EXPRESSION else name}"
        for name, mask in types.items()
        if name != feature_type
    ]
    read = "Gene Expression" if feature_type == EXPRESSION else feature_type
    other = next(name for name in types if name != feature_type)
    choice = base if other == EXPRESSION else other
    return (
        f"{path or 'the AnnData'}: {int(types[feature_type].sum()):,} features of {read} are read, "
        f"{' and '.join(others)} left out (choose with `layer={choice!r}`)"
    )


def _kept(table: Table, keep: NDArray[np.bool_]) -> Table:
    """The table of the features kept."""

    def some(read: Callable[[], NDArray[np.str_]]) -> Callable[[], NDArray[np.str_]]:
        return lambda: read()[keep]

    return Table(some(table.index), {name: some(read) for name, read in table.columns.items()})
