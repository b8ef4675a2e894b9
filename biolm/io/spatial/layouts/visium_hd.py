"""Visium HD of Space Ranger 3 and 4: bins of 2, 8 or 16 µm, and segmented cells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells import open_cells
from biolm.io.damage import closed_on_failure
from biolm.io.json_file import read_json
from biolm.io.spatial.joins import join_names
from biolm.io.spatial.layouts.space_ranger import find_images, find_matrix, left_out, open_outs, read_scale
from biolm.io.spatial.open import SectionOptions
from biolm.io.spatial.section import Section

__all__ = ["USES", "open_layout", "recognises"]

USES = ("bin_um", "segmented", "matrix", "allow_unmatched")
DEFAULT_BIN = 8


def recognises(path: Path) -> bool:
    """Whether it is a folder with ``binned_outputs`` or ``segmented_outputs``, or the former itself."""
    return path.is_dir() and (
        bool(_bins(path)) or (path / "segmented_outputs").is_dir() or path.name == "segmented_outputs"
    )


def open_layout(path: Path, options: SectionOptions) -> Section:
    """Open the bins of one size, or the segmented cells.

    Raises
    ------
    InputError
        If there are no bins of that size, or no segmented cells where they are asked for.
    """
    bins = _bins(path)
    segmented = path if path.name == "segmented_outputs" else path / "segmented_outputs"
    if options.segmented or (not bins and options.bin_um is None):
        if options.bin_um is not None:
            raise InputError(f"{path}: choose bins (bin_um) or segmented cells, not both")
        return _segmented(segmented, options)
    size = options.bin_um or DEFAULT_BIN
    if size not in bins:
        raise InputError(f"{path} has no bins of {size} µm; it has {', '.join(map(str, sorted(bins)))} µm")
    return open_outs(bins[size], options, layout="visium-hd", pitch=None)


def _bins(path: Path) -> dict[int, Path]:
    """Folder of each bin size."""
    folder = path / "binned_outputs" if (path / "binned_outputs").is_dir() else path
    bins = {}
    for inner in folder.glob("square_*um"):
        if match := re.fullmatch(r"square_(\d+)um", inner.name):
            bins[int(match[1])] = inner
    return bins


def _segmented(path: Path, options: SectionOptions) -> Section:
    """Cells of ``segmented_outputs``: no table of positions, so places are the centroids of polygons."""
    shapes = path / "cell_segmentations.geojson"
    if not shapes.is_file():
        raise InputError(f"{path} holds no cell_segmentations.geojson, so its cells have no places")
    source = open_cells(find_matrix(path, options.matrix))
    with closed_on_failure(source):
        ids, xy = _centroids(shapes)
        names = source.cell_names()
        # The matrix calls cell 7 "cellid_000000007-1", the polygons have the number alone.
        numbers = np.array([_number(name, path) for name in names.tolist()], np.str_)
        rows, places, fraction = join_names(numbers, ids, str(path), allow_unmatched=options.allow_unmatched)
        factors = read_scale(path / "spatial")
        return Section(
            name=path.parent.name,
            layout="visium-hd-segmented",
            source=source,
            rows=rows,
            names=names[rows],
            xy=xy[places],
            images=find_images(path / "spatial", factors),
            microns_per_pixel=factors.get("microns_per_pixel"),
            counted={
                "barcodes": len(names),
                "matched": len(rows),
                "matched_fraction": fraction,
                "polygons": len(ids),
                **left_out(source),
            },
        )


def _number(name: str, path: Path) -> str:
    match = re.search(r"(\d+)(?:-\d+)?$", name)
    if not match:
        raise InputError(f"{path}: the cell id {name!r} does not end in a number that a polygon could have")
    return str(int(match[1]))


def _centroids(path: Path) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Ids and area centroids of polygons."""
    ids, centres = [], []
    for shape in read_json(path).get("features", []):
        geometry, about = shape.get("geometry") or {}, shape.get("properties") or {}
        key = about.get("cell_id", shape.get("id"))
        rings = geometry.get("coordinates") or []
        # The first piece stands for the cell: others are crumbs of the segmentation.
        rings = rings[0] if geometry.get("type") == "MultiPolygon" and rings else rings
        if key is None or not rings:
            raise InputError(f"{path} holds a shape without cell_id or coordinates; copy it again")
        ids.append(_number(str(key), path))
        centres.append(_centroid(np.asarray(rings[0], np.float64)))
    if not ids:
        raise InputError(f"{path} holds no polygons")
    return np.array(ids, np.str_), np.array(centres)


def _centroid(ring: NDArray[Any]) -> NDArray[np.float64]:
    """Centre of gravity of a closed ring ``(v, 2)``; the mean where it has no area."""
    x, y = ring[:, 0], ring[:, 1]
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    if abs(area) < 1e-9:
        return np.asarray(ring.mean(0))
    centre = [((x + np.roll(x, -1)) * cross).sum(), ((y + np.roll(y, -1)) * cross).sum()]
    return np.asarray(np.array(centre) / (6 * area))
