"""AnnData stores and objects with ``obsm["spatial"]``, of one library or of several.

Dimensions: ``n`` spots.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells import open_cells
from biolm.io.cells.block import CellSource
from biolm.io.damage import closed_on_failure
from biolm.io.spatial.open import SectionOptions
from biolm.io.spatial.section import Section, SectionImage

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["USES", "open_anndata", "open_layout", "recognises"]

USES = ("matrix", "library", "library_column")
_SCALES = {"hires": "tissue_hires_scalef", "lowres": "tissue_lowres_scalef"}
_FACTS = ("spot_pitch_um", "microns_per_pixel", "image_size_xy")


def recognises(path: Path) -> bool:
    """Whether it is an h5ad file or an AnnData zarr store."""
    if path.is_file():
        return path.suffix == ".h5ad"
    return (path / "obs").is_dir() and (path / "obsm").is_dir()


def open_layout(path: Path, options: SectionOptions) -> Section:
    """Open a store; the counts stay on disk, places and ``uns["spatial"]`` are read."""
    from biolm.io.anndata.convert import reading

    source = open_cells(path, matrix=options.matrix)
    with closed_on_failure(source):
        with reading(path) as root:
            places = np.asarray(root["obsm/spatial"][...]) if "obsm/spatial" in root else None
            uns = _facts(root["uns"]) if "uns" in root else {}
        return _section(path.stem, source, places, uns, options)


def open_anndata(adata: AnnData, options: SectionOptions) -> Section:
    """Section over an AnnData in memory.

    Parameters
    ----------
    adata
        The table.
    options
        What the user says about it.
    """
    places = adata.obsm.get("spatial")
    name = "the AnnData" if adata.filename is None else Path(str(adata.filename)).stem
    return _section(name, open_cells(adata, matrix=options.matrix), places, adata.uns, options)


def _facts(uns: Any) -> dict[str, Any]:
    """What is needed of ``uns``, h5py or zarr."""
    from anndata.io import read_elem

    stored = {name: read_elem(uns[name]) for name in _FACTS if name in uns}
    if "spatial" in uns:
        stored["spatial"] = read_elem(uns["spatial"])
    return stored


def _section(
    name: str, source: CellSource, places: Any, uns: Mapping[str, Any], options: SectionOptions
) -> Section:
    if places is None:
        library_fields = "obsm['spatial']"
        raise InputError(f"{name} has no {library_fields} with the places of its spots; give one, x before y")
    xy = np.asarray(places, np.float64)
    if xy.ndim != 2 or xy.shape[1] < 2:
        raise InputError(f"{name}: obsm['spatial'] has shape {xy.shape}; give (x, y) of every spot")
    spatial = uns.get("spatial")
    libraries = dict(spatial) if isinstance(spatial, Mapping) else {}
    library, rows = _library(name, source, libraries, options)
    library_fields = libraries.get(library, {}) if library else {}
    factors = {key: float(value) for key, value in dict(library_fields.get("scalefactors", {})).items()}
    images = [
        SectionImage(str(key), np.asarray(pixels), factors.get(_SCALES.get(str(key), "")))
        for key, pixels in dict(library_fields.get("images", {})).items()
    ]
    names = source.cell_names()
    columns = {column: source.obs_column(column)[rows] for column in source.obs_columns()}
    chemistry = str(dict(library_fields.get("metadata", {})).get("chemistry_description", ""))
    # scanpy keeps the chemistry, from which the grid of Visium follows.
    pitch = uns.get("spot_pitch_um", 100.0 if chemistry.startswith("Spatial 3'") else None)
    scale = uns.get("microns_per_pixel", factors.get("microns_per_pixel"))
    size = uns.get("image_size_xy")
    return Section(
        name=library or name,
        layout="anndata",
        source=source,
        rows=rows,
        names=names[rows],
        xy=xy[rows, :2],
        columns=columns,
        images=tuple(images),
        microns_per_pixel=None if scale is None else float(scale),
        spot_pitch_um=None if pitch is None else float(pitch),
        spot_diameter_px=factors.get("spot_diameter_fullres"),
        counted={
            "spots": len(names),
            "libraries": ", ".join(map(str, libraries)),
            **({} if size is None else {"image_size": "{} x {}".format(*np.asarray(size).tolist())}),
        },
    )


def _library(
    name: str, source: CellSource, libraries: Mapping[str, Any], options: SectionOptions
) -> tuple[str, NDArray[np.int64]]:
    """The library to read, and the rows of its spots.

    Raises
    ------
    InputError
        If there are several and nothing says which spot is whose, or which one is wanted.
    """
    everything = np.arange(source.n_cells)
    if len(libraries) <= 1 and options.library_column is None:
        only = next(iter(libraries), "")
        if options.library not in (None, only):
            raise InputError(f"{name} holds the library {only or 'without a name'}, not {options.library!r}")
        return str(only), everything
    column = options.library_column or _column_of(source, libraries)
    if column is None:
        raise InputError(
            f"{name} holds {len(libraries)} libraries ({', '.join(map(str, libraries))}) and no column of "
            "obs says which spot is of which; name one (`library_column`)"
        )
    values = source.obs_column(column).astype(str)
    known = sorted(set(values.tolist()))
    if options.library is None:
        if len(known) == 1:
            return known[0], everything
        raise InputError(f"{name} holds several libraries; choose one with `library`: {', '.join(known)}")
    if options.library not in known:
        raise InputError(f"{name}: column {column!r} has no {options.library!r} but {', '.join(known)}")
    return options.library, np.flatnonzero(values == options.library)


def _column_of(source: CellSource, libraries: Mapping[str, Any]) -> str | None:
    """The only column of obs whose values are the libraries' names."""
    wanted = set(map(str, libraries))
    values = {name: set(source.obs_column(name).astype(str).tolist()) for name in source.obs_columns()}
    columns = [name for name, column in values.items() if column == wanted]
    return columns[0] if len(columns) == 1 else None
