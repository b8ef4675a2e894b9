"""Open an image of tissue of any common format, for reading regions of it.

Dimensions: ``H``, ``W`` pixels of a level · ``h``, ``w`` pixels of a region.

Everything comes out as 8-bit RGB. What was converted (16 bits, an alpha channel, a palette, CMYK) is said in
``TissueImage.notes``; what has two readings, such as an EXIF rotation, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.damage import closed_on_failure, damage_named, naming_damage

__all__ = ["Level", "TissueImage", "open_image"]

THUMBNAIL = 1024
SLIDES = {".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"}
TIFFS = {".tif", ".tiff", ".btf", ".tf8", ".tf2"}
LEAST_CONTRAST = 2
"""Grey levels between the darkest and the lightest pixel, below which an image is blank."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of an image.

    Parameters
    ----------
    width, height
        Pixels.
    downsample
        Pixels of the finest level along one of this one.
    read
        Gives region ``(x, y, w, h)``, which lies inside the level, as ``(h, w, 3)`` uint8.
    """

    width: int
    height: int
    downsample: float
    read: Callable[[int, int, int, int], NDArray[np.uint8]]


@dataclass(slots=True)
class TissueImage:
    """An open image. Use as a context manager.

    Parameters
    ----------
    name
        For messages.
    levels
        Finest first.
    microns_per_pixel
        Of the finest level, where the file's metadata state it.
    notes
        What was converted.
    on_close
        Frees the file.
    """

    name: str
    levels: tuple[Level, ...]
    microns_per_pixel: float | None = None
    notes: tuple[str, ...] = ()
    on_close: Callable[[], None] = lambda: None
    _thumbnails: dict[int, tuple[NDArray[np.uint8], float]] = field(default_factory=dict, repr=False)

    @property
    def width(self) -> int:
        """Pixels along x of the finest level."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Pixels along y of the finest level."""
        return self.levels[0].height

    def level_for(self, downsample: float) -> Level:
        """The coarsest level that is still at least as fine as ``downsample``."""
        # A little tolerance: levels of odd sizes are 15.998 times smaller and not 16.
        fine = [level for level in self.levels if level.downsample <= downsample * 1.001]
        return max(fine or self.levels[:1], key=lambda level: level.downsample)

    def thumbnail(self, side: int = THUMBNAIL) -> tuple[NDArray[np.uint8], float]:
        """The whole image with at most ``side`` pixels along its longer side, and what it was divided by."""
        from biolm.io.spatial.resample import shrink

        if side not in self._thumbnails:
            wanted = max(1.0, max(self.width, self.height) / side)
            level = self.level_for(wanted)
            pixels = shrink(level, max(1, round(level.width * level.downsample / wanted)))
            self._thumbnails[side] = (pixels, self.width / pixels.shape[1])
        return self._thumbnails[side]

    def refuse_blank(self) -> None:
        """Refuse an image without content.

        Raises
        ------
        InputError
            If all of it has one colour.
        """
        # A failed export is one colour all over; features of it are the same for every spot.
        pixels, _ = self.thumbnail(256)
        if int(pixels.max()) - int(pixels.min()) < LEAST_CONTRAST:
            raise InputError(
                f"{self.name} is blank: all of it is of one colour or transparent; export the image again"
            )

    def close(self) -> None:
        """Free the file."""
        self.on_close()

    def __enter__(self) -> TissueImage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_image(source: str | Path | NDArray[Any], *, check: bool = True) -> TissueImage:
    """Open an image.

    Parameters
    ----------
    source
        JPEG or PNG; TIFF, BigTIFF or OME-TIFF, pyramid or not; SVS, NDPI and others of openslide (extra
        ``slides``); or ``(H, W)`` or ``(H, W, 3 or 4)`` pixels.
    check
        Refuse a blank image.

    Raises
    ------
    InputError
        If the file is missing, damaged, blank, turned by EXIF, or of a kind that needs another package.
    """
    if not isinstance(source, (str, Path)):
        image = _from_array(np.asarray(source))
    else:
        image = _from_path(Path(source))
        image.levels = tuple(replace(level, read=_naming(level, source)) for level in image.levels)
    if check:
        with closed_on_failure(image):
            image.refuse_blank()
    return image


@damage_named("the image")
def _from_path(path: Path) -> TissueImage:
    """The image of a file or folder, by its ending."""
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image; check the path")
    if path.suffix.lower() in SLIDES:
        from biolm.io.spatial.slide import open_slide

        return open_slide(path)
    if path.suffix.lower() in TIFFS:
        from biolm.io.spatial.tiff import open_tiff

        return open_tiff(path)
    from biolm.io.spatial.picture import open_picture

    return open_picture(path)


def _naming(level: Level, source: str | Path) -> Callable[[int, int, int, int], NDArray[np.uint8]]:
    """The level's reader; pixels are decoded when they are read, so damage shows only then."""

    def read(x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        with naming_damage(source, "the image"):
            return level.read(x, y, w, h)

    return read


def _from_folder(path: Path) -> TissueImage:
    from biolm.io.spatial.ngff import is_ngff, open_ngff

    if not is_ngff(path):
        raise InputError(f"{path} is a folder and no OME-Zarr image; give the file of the image")
    return open_ngff(path)


def _from_array(pixels: NDArray[Any]) -> TissueImage:
    from biolm.io.spatial.resample import whole
    from biolm.io.spatial.samples import to_rgb

    rgb, notes = to_rgb(pixels, "the image array")
    return TissueImage("the image array", (whole(rgb),), notes=notes)
