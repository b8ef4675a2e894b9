"""Whole-slide formats (SVS, NDPI, MRXS, ...) through openslide, which the extra ``slides`` brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.extras import advice
from biolm.io.spatial.images import Level, TissueImage
from biolm.io.spatial.samples import over_white

__all__ = ["open_slide"]


def open_slide(path: Path) -> TissueImage:
    """Open a slide; regions are read from its pyramid.

    Raises
    ------
    InputError
        If openslide is not installed or cannot read the file.
    """
    try:
        import openslide
    except ImportError as error:
        raise InputError(f"{path} needs openslide: {advice('slides')}") from error
    try:
        slide = openslide.OpenSlide(str(path))
    except openslide.OpenSlideError as error:
        raise InputError(f"{path} cannot be opened by openslide ({error}); copy it again") from error
    levels = tuple(_level(slide, number) for number in range(slide.level_count))
    stated = slide.properties.get("openslide.mpp-x")
    notes = ("regions without pixels are white",)
    return TissueImage(str(path), levels, None if stated is None else float(stated), notes, slide.close)


def _level(slide: Any, number: int) -> Level:
    width, height = slide.level_dimensions[number]
    factor = float(slide.level_downsamples[number])

    def read(x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        # openslide wants the corner in pixels of the finest level, and the size in those of this one.
        pixels = np.asarray(slide.read_region((round(x * factor), round(y * factor)), number, (w, h)))
        return over_white(pixels[..., :3], pixels[..., 3:])

    return Level(width, height, factor, read)
