"""TIFF, BigTIFF and OME-TIFF, read tile by tile; pyramids as SubIFDs, as series levels or as pages.

Dimensions: ``H``, ``W`` pixels · ``c`` channels.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.damage import closed_on_failure
from biolm.io.spatial.images import Level, TissueImage
from biolm.io.spatial.samples import Convert, converter

__all__ = ["open_tiff"]

_KEPT_BYTES = 1 << 27
_UNITS = {"µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "pixel": None}
_LZW, _JPEG = 5, 7
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def open_tiff(path: Path) -> TissueImage:
    """Open a TIFF; only the tiles that a region needs are decoded.

    Raises
    ------
    InputError
        If it is cut off, holds no image of 1, 3 or 4 channels, or has tiles that need another package.
    """
    import tifffile

    try:
        # An OME-TIFF may name other files as its planes; it is read alone.
        file = tifffile.TiffFile(path, _multifile=False)
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
        raise InputError(f"{path} is no whole TIFF ({error}); copy or export it again") from error
    with closed_on_failure(file):
        pages = _pyramid(file)
        _refuse_turned(pages[0], path)
        tiles = [_Tiles(page, path) for page in pages]
        convert, notes = _conversion(tiles, path)
        width = tiles[0].width
        levels = tuple(_level(each, width / each.width, convert) for each in tiles)
        return TissueImage(str(path), levels, _scale(file, pages[0]), notes, file.close)


def _pyramid(file: Any) -> list[Any]:
    """Pages of the largest image, finest first: its SubIFDs, or pages of the same shape made smaller."""
    series = max(file.series, key=lambda one: _pixels(one.levels[0].keyframe)) if len(file.series) else None
    if series is None:
        raise InputError(f"{file.filename} holds no image")
    pages = [level.keyframe for level in series.levels]
    if len(pages) == 1:
        first = pages[0]
        for other in (one.levels[0].keyframe for one in file.series if one is not series):
            ratio = first.imagewidth / other.imagewidth
            same = abs(first.imagelength / other.imagelength / ratio - 1) < 0.02
            # Labels and macro photographs of a slide have another shape.
            if same and ratio > 1.5 and other.samplesperpixel == first.samplesperpixel:
                pages.append(other)
    return sorted(pages, key=_pixels, reverse=True)


def _pixels(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _refuse_turned(page: Any, path: Path) -> None:
    tag = page.tags.get("Orientation")
    if tag is not None and int(tag.value) != 1:
        raise InputError(
            f"{path} is turned by its orientation tag {int(tag.value)}, so it is unclear which way its "
            "pixels and the coordinates lie; save it again upright, without that tag"
        )


class _Tiles:
    """Tiles or strips of one page, the last ones kept."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.path = page, path
        self.width, self.height = int(page.imagewidth), int(page.imagelength)
        self.tile_width = int(page.tilewidth) if page.is_tiled else self.width
        self.tile_height = int(page.tilelength) if page.is_tiled else min(int(page.rowsperstrip), self.height)
        self.columns = -(-self.width // self.tile_width)
        self.lines = -(-self.height // self.tile_height)
        self.samples = int(page.samplesperpixel)
        self.planes = self.samples if int(page.planarconfig) == 2 else 1
        self.kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self.whole: NDArray[Any] | None = None
        wanted = self.columns * self.lines * self.planes
        if len(page.dataoffsets) < wanted:
            raise InputError(
                f"{path} lacks tiles: it names {len(page.dataoffsets)} of {wanted}; copy it again"
            )

    def region(self, x: int, y: int, w: int, h: int) -> NDArray[Any]:
        """Samples ``(h, w, c)``."""
        out = np.empty((h, w, self.samples), self.page.dtype)
        for line in range(y // self.tile_height, (y + h - 1) // self.tile_height + 1):
            for column in range(x // self.tile_width, (x + w - 1) // self.tile_width + 1):
                top, left = line * self.tile_height, column * self.tile_width
                for plane in range(self.planes):
                    tile = self._tile(plane * self.columns * self.lines + line * self.columns + column)
                    y0, x0 = max(y, top), max(x, left)
                    y1, x1 = min(y + h, top + tile.shape[0]), min(x + w, left + tile.shape[1])
                    part = tile[y0 - top : y1 - top, x0 - left : x1 - left]
                    channels = slice(None) if self.planes == 1 else slice(plane, plane + 1)
                    out[y0 - y : y1 - y, x0 - x : x1 - x, channels] = part
        return out

    def _tile(self, number: int) -> NDArray[Any]:
        if number in self.kept:
            self.kept.move_to_end(number)
            return self.kept[number]
        tile = self._decoded(number)
        self.kept[number] = tile
        most = max(4 * self.columns, _KEPT_BYTES // max(tile.nbytes, 1))
        # A row of tiles is always kept, since neighbouring patches share them; but never beyond four times
        # the bound.
        while len(self.kept) > min(most, max(1, 4 * _KEPT_BYTES // max(tile.nbytes, 1))):
            self.kept.popitem(last=False)
        return tile

    def _decoded(self, number: int) -> NDArray[Any]:
        page, size = self.page, int(self.page.databytecounts[number])
        handle = page.parent.filehandle
        handle.seek(int(page.dataoffsets[number]))
        data = handle.read(size)
        height = min(self.tile_height, self.height - number // self.columns % self.lines * self.tile_height)
        if size == 0:  # a tile that was never scanned: white where colours, black where signal
            shape = (self.tile_height, self.tile_width, self.samples if self.planes == 1 else 1)
            return np.full(shape, 255 if page.dtype == np.uint8 and self.samples >= 3 else 0, page.dtype)
        if len(data) < size:
            raise InputError(f"{self.path} is cut off: a tile ends before its {size} bytes; copy it again")
        if int(page.compression) == _JPEG:
            return _jpeg(data, page, self.path)
        if int(page.compression) == _LZW and not find_spec("imagecodecs"):
            return self._by_pillow(number)
        try:
            decoded, _, shape = page.decode(data, number)
        except (ValueError, RuntimeError, TypeError, OSError, EOFError) as error:
            raise InputError(self._why(error)) from error
        # Strips and tiles come as (depth, height, width, samples), the last strip with its own height.
        tile: NDArray[Any] = decoded.reshape(decoded.shape[-3:])
        return tile[: max(height, 1)] if not page.is_tiled else tile[: shape[-3], : shape[-2]]

    def _by_pillow(self, number: int) -> NDArray[Any]:
        """A strip or tile out of the whole page, which Pillow decodes at once."""
        from PIL import Image

        if self.whole is None:
            if self.page.index is None or isinstance(self.page.index, tuple | list):
                raise InputError(self._why(ValueError("compression")))
            try:
                with Image.open(self.path) as image:
                    image.seek(int(self.page.index))
                    pixels = np.asarray(image)
            except (OSError, SyntaxError, ValueError, EOFError) as error:
                raise InputError(f"{self.path} cannot be decoded ({error}); copy it again") from error
            self.whole = pixels if pixels.ndim == 3 else pixels[..., None]
        line, column = divmod(number, self.columns)
        top, left = line * self.tile_height, column * self.tile_width
        return self.whole[top : top + self.tile_height, left : left + self.tile_width]

    def _why(self, error: Exception) -> str:
        name = self.page.compression.name
        if "imagecodecs" in str(error) or "compression" in str(error).lower():
            return f"{self.path} has {name} tiles, which need another package: pip install imagecodecs"
        return f"{self.path} has a tile that cannot be decoded ({error}); copy it again"


def _jpeg(data: bytes, page: Any, path: Path) -> NDArray[Any]:
    """A JPEG tile through Pillow: the file's common tables are put in front of it."""
    from io import BytesIO

    from PIL import Image

    tables = page.jpegtables
    start = data[:2]
    if int(page.photometric) == 2 and b"Adobe" not in data[:64]:
        # Without a marker a decoder takes three components for YCbCr; this file says that they are RGB.
        start += _ADOBE_RGB
    whole = start + (tables[2:-2] if tables else b"") + data[2:]
    try:
        with Image.open(BytesIO(whole)) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} has a JPEG tile that cannot be decoded ({error}); copy it again") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _conversion(tiles: list[_Tiles], path: Path) -> tuple[Convert, tuple[str, ...]]:
    """How samples become RGB, fitted on the coarsest level (or on its middle, where that is large)."""
    page = tiles[0].page
    if tiles[0].samples not in (1, 3, 4):
        raise InputError(f"{path} has {tiles[0].samples} channels; export one of 1, 3 or 4 channels")
    if page.photometric.name == "SEPARATED":
        return _from_cmyk, ("CMYK colours became RGB",)
    if page.photometric.name == "PALETTE":
        table = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
        return (lambda pixels: table[pixels[..., 0]]), ("palette colours became RGB",)
    last = tiles[-1]
    w, h = min(last.width, 2048), min(last.height, 2048)
    sample = last.region((last.width - w) // 2, (last.height - h) // 2, w, h)
    convert, notes = converter(sample, str(path))
    if page.photometric.name == "MINISWHITE":
        return (lambda pixels: 255 - convert(pixels)), (*notes, "inverted: white is zero in this file")
    return convert, notes


def _from_cmyk(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels), "CMYK").convert("RGB"))


def _level(tiles: _Tiles, downsample: float, convert: Convert) -> Level:
    read: Callable[[int, int, int, int], NDArray[np.uint8]] = lambda x, y, w, h: convert(  # noqa: E731
        tiles.region(x, y, w, h)
    )
    return Level(tiles.width, tiles.height, downsample, read)


def _scale(file: Any, page: Any) -> float | None:
    """Micrometres per pixel from OME metadata, an Aperio description or the resolution in centimetres."""
    ome = file.ome_metadata or ""
    if match := re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', ome):
        unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', ome)
        factor = _UNITS.get(unit[1] if unit else "µm")
        return None if factor is None else float(match[1]) * factor
    if match := re.search(r"MPP = ([0-9.]+)", page.description or ""):
        return float(match[1])
    tags = page.tags
    # 72 dots per inch is what programs write that know nothing, so inches are not believed.
    if "XResolution" in tags and "ResolutionUnit" in tags and int(tags["ResolutionUnit"].value) == 3:
        over, under = tags["XResolution"].value
        return 1e4 * under / over if over else None
    return None
