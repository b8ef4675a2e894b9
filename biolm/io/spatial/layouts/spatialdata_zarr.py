"""SpatialData zarr folders, read without the spatialdata package: one table, its places, its images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells import open_cells
from biolm.io.damage import closed_on_failure
from biolm.io.spatial.open import SectionOptions
from biolm.io.spatial.section import Section, SectionImage

__all__ = ["USES", "open_layout", "recognises"]

USES = ("matrix", "library")


def recognises(path: Path) -> bool:
    """Whether it is a zarr folder with tables."""
    tables = path / "tables"
    return path.is_dir() and tables.is_dir() and any((one / "obs").is_dir() for one in tables.iterdir())


def open_layout(path: Path, options: SectionOptions) -> Section:
    """Open a table; places are its ``obsm["spatial"]``.

    Raises
    ------
    InputError
        If there are several tables and none is named, or one without places.
    """
    from biolm.io.anndata.convert import reading

    names = sorted(one.name for one in (path / "tables").iterdir() if (one / "obs").is_dir())
    if options.library is None and len(names) > 1:
        raise InputError(f"{path} holds the tables {', '.join(names)}; choose one with `library`")
    name = options.library or names[0]
    if name not in names:
        raise InputError(f"{path} holds no table {name!r} but {', '.join(names)}")
    table = path / "tables" / name
    with reading(table) as root:
        if "obsm/spatial" not in root:
            raise InputError(
                f"{path}: the table {name} has no obsm['spatial']; put the centroids of its shapes there"
            )
        xy: NDArray[Any] = np.asarray(root["obsm/spatial"][...], np.float64)
    source = open_cells(table, matrix=options.matrix)
    with closed_on_failure(source):
        cells = source.cell_names()
        columns = {column: source.obs_column(column) for column in source.obs_columns()}
        return Section(
            name=name,
            layout="spatialdata",
            source=source,
            rows=np.arange(len(cells)),
            names=cells,
            xy=xy[:, :2],
            columns=columns,
            images=_images(path / "images"),
            counted={"spots": len(cells), "tables": ", ".join(names)},
        )


def _images(folder: Path) -> tuple[SectionImage, ...]:
    folders = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    return tuple(SectionImage(one.name, one) for one in folders)
