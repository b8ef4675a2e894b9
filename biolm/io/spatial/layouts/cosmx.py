"""CosMx SMI: a count table and a metadata table, keyed by field of view *and* cell.

``cell_ID`` starts anew in every field of view, and row 0 holds transcripts that lie in no cell: most of the
counts of a poor section. Both are easy to take for cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.spatial.joins import join_names
from biolm.io.spatial.open import SectionOptions
from biolm.io.spatial.section import Section
from biolm.io.spatial.tables import find_pair, header_of, memory_source, read_columns, read_counts

__all__ = ["USES", "open_layout", "recognises"]

USES = ("allow_unmatched",)
MICRONS_PER_PIXEL = 0.12028
"""Of the instrument's global pixels."""
_TABLES = ("exprMat_file.csv", "metadata_file.csv")
_CONTROLS = ("NegPrb", "Negative", "FalseCode", "SystemControl", "Custom_Neg")


def recognises(path: Path) -> bool:
    """Whether it is a folder with a count and a metadata table of CosMx."""
    return find_pair(path, *_TABLES) is not None


def open_layout(path: Path, options: SectionOptions) -> Section:
    """Open the cells of a CosMx section; transcripts in no cell and control probes are counted.

    Raises
    ------
    InputError
        If tables lack columns or do not belong together.
    """
    tables = find_pair(path, *_TABLES)
    assert tables is not None
    counts_file, about_file = tables
    names, _ = header_of(counts_file)
    if [name.lower() for name in names[:2]] != ["fov", "cell_id"]:
        raise InputError(f"{counts_file} must begin with the columns fov and cell_ID, not {names[:2]}")
    (fov, cell), genes, counts = read_counts(counts_file, 2)
    # Row 0 of a field of view holds the transcripts that lie in no cell.
    unassigned = cell == "0"
    control = np.array([gene.startswith(_CONTROLS) for gene in genes.tolist()])
    total = float(counts.sum())
    kept = np.flatnonzero(~unassigned)
    # cell_ID alone repeats in every field of view.
    ids = _keys(fov[kept], cell[kept])
    about_ids, xy, unit = _places(about_file)
    rows, places, fraction = join_names(ids, about_ids, str(path), allow_unmatched=options.allow_unmatched)
    genuine = counts[:, np.flatnonzero(~control)]
    return Section(
        name=path.name,
        layout="cosmx",
        source=memory_source(genuine[kept], ids, genes[~control]),
        rows=rows,
        names=ids[rows],
        xy=xy[places],
        unit=unit,
        columns={"fov": fov[kept][rows]},
        microns_per_pixel=MICRONS_PER_PIXEL if unit == "px" else None,
        counted={
            "cells": len(ids),
            "matched": len(rows),
            "matched_fraction": fraction,
            "rows_in_no_cell": int(unassigned.sum()),
            "counts_in_no_cell": float(counts[np.flatnonzero(unassigned)].sum()),
            "counts_in_no_cell_fraction": float(counts[np.flatnonzero(unassigned)].sum()) / max(total, 1.0),
            "controls": {
                "probes": int(control.sum()),
                "counts": float(counts[kept][:, np.flatnonzero(control)].sum()),
            },
        },
    )


def _keys(fov: NDArray[np.str_], cell: NDArray[np.str_]) -> NDArray[np.str_]:
    """Ids that are unique over fields of view."""
    return np.char.add(np.char.add(fov, "_"), cell)


def _places(path: Path) -> tuple[NDArray[np.str_], NDArray[np.float64], Any]:
    """Ids, places and their unit; newer tables have millimetres."""
    names, _ = header_of(path)
    cell = next((name for name in ("cell_ID", "cell_id") if name in names), "cell_ID")
    pairs = {
        "mm": [("x_global_mm", "y_global_mm"), ("X_mm", "Y_mm")],
        "px": [("CenterX_global_px", "CenterY_global_px")],
    }
    for kind, spellings in pairs.items():
        for pair in spellings:
            if set(pair) <= set(names):
                columns = read_columns(path, ["fov", cell], pair)
                xy = np.stack([columns[name] for name in pair], 1)
                ids = _keys(columns["fov"], columns[cell])
                return ids, xy * (1e3 if kind == "mm" else 1.0), "um" if kind == "mm" else "px"
    raise InputError(f"{path} has no global coordinates (CenterX_global_px or x_global_mm); export it again")
