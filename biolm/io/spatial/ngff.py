"""OME-Zarr images (also those inside SpatialData folders), read chunk by chunk.

Dimensions: ``c`` channels · ``H``, ``W`` pixels of a level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.contained import open_zarr
from biolm.io.spatial.images import Level, TissueImage
from biolm.io.spatial.samples import Convert, converter

__all__ = ["is_ngff", "open_ngff"]


def is_ngff(path: Path) -> bool:
    """Whether it is a zarr group."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup"))


def open_ngff(path: Path) -> TissueImage:
    """Open an image of axes ``c, y, x`` with its pyramid.

    Raises
    ------
    InputError
        If it has other axes or no arrays.
    """
    group: Any = open_zarr(path)[0]
    attributes = dict(group.attrs)
    # Version 0.5 of the format put its fields one level down.
    described = dict(attributes.get("ome", attributes)).get("multiscales")
    if not described:
        raise InputError(f"{path} is a zarr folder without multiscales; give an OME-Zarr image")
    axes = [axis["name"] for axis in described[0].get("axes", [])]
    if axes not in (["c", "y", "x"], ["y", "x"]):
        raise InputError(f"{path} has the axes {', '.join(axes)}; give an image of c, y and x")
    arrays = [group[entry["path"]] for entry in described[0]["datasets"]]
    arrays.sort(key=lambda array: -array.shape[-1])
    # The coarsest level is enough to see the range of the values, and fits into memory.
    last = _channels_last(np.asarray(arrays[-1][...]))
    convert, notes = converter(last, str(path))
    width = arrays[0].shape[-1]
    levels = tuple(_level(array, width / array.shape[-1], convert) for array in arrays)
    return TissueImage(str(path), levels, notes=notes)


def _channels_last(block: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(block, 0, -1) if block.ndim == 3 else block


def _level(array: Any, downsample: float, convert: Convert) -> Level:
    def read(x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        return convert(_channels_last(np.asarray(array[..., y : y + h, x : x + w])))

    return Level(array.shape[-1], array.shape[-2], downsample, read)
