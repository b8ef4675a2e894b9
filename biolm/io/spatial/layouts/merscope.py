"""MERSCOPE (Vizgen): a count and a metadata table in micrometres, mosaics with a transform.

Cell ids have up to 39 digits, more than any number type of a table holds, and are kept as text.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biolm.errors import InputError
from biolm.io.json_file import read_json
from biolm.io.spatial.images import open_image
from biolm.io.spatial.joins import join_names
from biolm.io.spatial.open import SectionOptions
from biolm.io.spatial.section import Section, SectionImage
from biolm.io.spatial.tables import find_pair, header_of, memory_source, read_columns, read_counts

__all__ = ["USES", "open_layout", "recognises"]

USES = ("allow_unmatched",)
_TABLES = ("cell_by_gene.csv", "cell_metadata.csv")
DISAGREE = 0.02


def recognises(path: Path) -> bool:
    """Whether it is a folder with a cell-by-gene and a metadata table."""
    return find_pair(path, *_TABLES) is not None


def open_layout(path: Path, options: SectionOptions) -> Section:
    """Open the cells of a MERSCOPE section; blank barcodes are counted.

    Raises
    ------
    InputError
        If the tables do not belong together.
    """
    tables = find_pair(path, *_TABLES)
    assert tables is not None
    counts_file, about_file = tables
    (ids,), genes, counts = read_counts(counts_file, 1)
    key = header_of(about_file)[0][0]
    about = read_columns(about_file, [key], ["center_x", "center_y"])
    rows, places, fraction = join_names(ids, about[key], str(path), allow_unmatched=options.allow_unmatched)
    # Barcodes that no probe carries: their counts say how often decoding goes wrong.
    blank = np.char.startswith(genes, "Blank")
    return Section(
        name=path.name,
        layout="merscope",
        source=memory_source(counts[:, np.flatnonzero(~blank)], ids, genes[~blank]),
        rows=rows,
        names=ids[rows],
        xy=np.stack((about["center_x"], about["center_y"]), 1)[places],
        unit="um",
        images=_images(path / "images"),
        counted={
            "cells": len(ids),
            "matched": len(rows),
            "matched_fraction": fraction,
            "controls": {"blanks": int(blank.sum()), "counts": float(counts[:, np.flatnonzero(blank)].sum())},
        },
    )


def _images(folder: Path) -> tuple[SectionImage, ...]:
    """Mosaics, with the transform from micrometres to their pixels."""
    files = sorted(folder.glob("mosaic_*.tif*")) if folder.is_dir() else []
    transform = folder / "micron_to_mosaic_pixel_transform.csv"
    manifest = folder / "manifest.json"
    if transform.is_file():
        scale, origin = _transform(transform)
        return tuple(SectionImage(file.stem, file, scale, origin) for file in files)
    if manifest.is_file():
        return tuple(_by_manifest(file, manifest) for file in files)
    return tuple(SectionImage(file.stem, file) for file in files)


def _transform(path: Path) -> tuple[float, tuple[float, float]]:
    """Scale and origin of ``pixel = matrix · (x, y, 1)``.

    Raises
    ------
    InputError
        If it is no matrix, or turns or stretches.
    """
    try:
        matrix = np.array([line.split() for line in path.read_text().split("\n") if line.strip()], float)
    except ValueError as error:
        raise InputError(f"{path} holds no 3 x 3 matrix of numbers; copy it again") from error
    if matrix.shape != (3, 3):
        raise InputError(f"{path} holds no 3 x 3 matrix of numbers; copy it again")
    plain = abs(matrix[0, 1]) + abs(matrix[1, 0]) < 1e-6 and np.isclose(matrix[0, 0], matrix[1, 1], rtol=1e-3)
    if not plain or matrix[0, 0] <= 0:
        raise InputError(f"{path} turns or stretches the image, which is not supported; export it upright")
    scale = float(matrix[0, 0])
    return scale, (float(-matrix[0, 2] / scale), float(-matrix[1, 2] / scale))


def _by_manifest(file: Path, manifest: Path) -> SectionImage:
    """An image with the manifest's scale, if box, pixels and image agree on it."""
    about = read_json(manifest)
    stated = float(about.get("microns_per_pixel", 0))
    left, top, right, _ = (float(value) for value in about.get("bbox_microns", (0, 0, 0, 0)))
    with open_image(file, check=False) as image:
        width = image.width
    # Manifests are edited by hand: only two statements that agree are believed.
    by_box = (right - left) / width if width and right > left else 0.0
    if stated <= 0 or by_box <= 0 or abs(by_box / stated - 1) > DISAGREE:
        fault = (
            f"{manifest} says {stated:g} µm per pixel, but its box of {right - left:.1f} µm over the "
            f"{width} pixels of {file.name} makes {by_box:.4g}; say which is right (`microns_per_pixel`)"
        )
        return SectionImage(file.stem, file, None, (left, top), fault)
    return SectionImage(file.stem, file, 1 / stated, (left, top))
