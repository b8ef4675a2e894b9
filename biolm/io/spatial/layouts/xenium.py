"""Xenium: a feature matrix, a table of cells in micrometres, and images whose pixels have a stated size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from biolm.errors import InputError
from biolm.io.cells import open_cells
from biolm.io.cells.block import CellSource
from biolm.io.damage import closed_on_failure
from biolm.io.json_file import read_json
from biolm.io.spatial.joins import as_text, join_names
from biolm.io.spatial.open import SectionOptions
from biolm.io.spatial.section import Section, SectionImage
from biolm.io.spatial.tables import read_columns

__all__ = ["USES", "open_layout", "recognises"]

USES = ("allow_unmatched",)
_CELLS = ("cells.parquet", "cells.csv.gz", "cells.csv")
_IMAGES = (
    "morphology_focus/*.ome.tif",
    "morphology_focus*.ome.tif",
    "morphology_mip*.ome.tif",
    "ch0*.ome.tif",
)


def recognises(path: Path) -> bool:
    """Whether it is a folder with a table of cells and a cell feature matrix."""
    return path.is_dir() and _cells(path) is not None and _matrix(path) is not None


def open_layout(path: Path, options: SectionOptions) -> Section:
    """Open the cells of a Xenium run.

    Raises
    ------
    InputError
        If cells and matrix are of different runs.
    """
    table, matrix = _cells(path), _matrix(path)
    assert table is not None
    assert matrix is not None
    columns = read_columns(table, ["cell_id"], ["x_centroid", "y_centroid"])
    source = open_cells(matrix)
    with closed_on_failure(source):
        # Ids are bytes in some tables and text in others; both are compared as text.
        names = as_text(source.cell_names())
        rows, places, fraction = join_names(
            names, columns["cell_id"], str(path), allow_unmatched=options.allow_unmatched
        )
        xy = np.stack((columns["x_centroid"], columns["y_centroid"]), 1)[places]
        size = _pixel_size(path)
        return Section(
            name=path.name,
            layout="xenium",
            source=source,
            rows=rows,
            names=names[rows],
            xy=xy,
            unit="um",
            images=_images(path, size),
            microns_per_pixel=size,
            counted={
                "cells": len(columns["cell_id"]),
                "matched": len(rows),
                "matched_fraction": fraction,
                **_controls(source, matrix),
                **_boundaries(path, names[rows]),
            },
        )


def _cells(path: Path) -> Path | None:
    return next((path / name for name in _CELLS if (path / name).is_file()), None)


def _matrix(path: Path) -> Path | None:
    file, folder = path / "cell_feature_matrix.h5", path / "cell_feature_matrix"
    return file if file.is_file() else folder if folder.is_dir() else None


def _pixel_size(path: Path) -> float | None:
    about = path / "experiment.xenium"
    size = read_json(about).get("pixel_size") if about.is_file() else None
    if size is None:
        return None
    if not isinstance(size, int | float) or size <= 0:
        raise InputError(f"{about} gives a pixel size of {size!r}; it must be a number above 0")
    return float(size)


def _images(path: Path, size: float | None) -> tuple[SectionImage, ...]:
    files = [file for pattern in _IMAGES for file in sorted(path.glob(pattern))]
    scale = None if size is None else 1 / size
    # dict.fromkeys: patterns of older and newer outputs may match one file twice.
    return tuple(SectionImage(file.name.partition(".")[0], file, scale) for file in dict.fromkeys(files))


def _controls(source: CellSource, matrix: Path) -> dict[str, Any]:
    """Counts of features that are no genes, by type."""
    controls: dict[str, Any] = {}
    for kind in source.matrices():
        if kind in ("X", source.matrix):
            continue
        with open_cells(matrix, matrix=kind) as other:
            total = sum(float(block.data.sum()) for block in other.blocks())
            controls[kind.removeprefix("X/")] = {"features": other.n_genes, "counts": total}
    return {"controls": controls} if controls else {}


def _boundaries(path: Path, names: np.ndarray[Any, Any]) -> dict[str, Any]:
    """How many of the cells have a polygon."""
    file = path / "cell_boundaries.parquet"
    if not file.is_file():
        return {}
    ids = np.unique(read_columns(file, ["cell_id"], [])["cell_id"])
    return {"cells_with_boundaries": int(np.isin(names, ids).sum())}
