"""JPEG and PNG through Pillow: decoded whole, once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from biolm.errors import InputError
from biolm.io.spatial.images import TissueImage
from biolm.io.spatial.resample import whole
from biolm.io.spatial.samples import to_rgb

__all__ = ["open_picture"]

_ORIENTATION = 0x0112
MOST_PIXELS = 1 << 31


def open_picture(path: Path) -> TissueImage:
    """Open a JPEG, PNG or another format of Pillow.

    Raises
    ------
    InputError
        If it is damaged, of no known format, too large to decode whole, or turned by EXIF.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # The guard against decompression bombs stands at a tenth of an ordinary slide.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = _open_unguarded(Image, path)
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"{path} has {image.width} x {image.height} pixels, too many to decode at once; "
                    "convert it to a tiled TIFF pyramid"
                )
            turned = image.getexif().get(_ORIENTATION, 1)
            if turned != 1:
                raise InputError(
                    f"{path} is turned by its EXIF orientation {turned}, so it is unclear which way its "
                    "pixels and the coordinates lie; save it again upright, without that tag"
                )
            pixels, notes = _decoded(image, path)
    except (UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is no image that can be read ({error}); export it again") from error
    except OSError as error:
        raise InputError(f"{path} is damaged or cut off ({error}); copy it again") from error
    return TissueImage(str(path), (whole(pixels),), notes=notes)


def _open_unguarded(module: Any, path: Path) -> Any:
    """Open without Pillow's refusal of many pixels; the size is checked by the caller."""
    limit = module.MAX_IMAGE_PIXELS
    module.MAX_IMAGE_PIXELS = None
    try:
        return module.open(path)
    finally:
        module.MAX_IMAGE_PIXELS = limit


def _decoded(image: Any, path: Path) -> tuple[Any, tuple[str, ...]]:
    """Pixels ``(H, W, 3)`` and notes."""
    mode = image.mode
    if mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
        has_alpha = mode == "P" and "transparency" in image.info
        converted = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
        pixels, notes = to_rgb(converted, str(path))
        return pixels, (f"{mode} colours became RGB", *notes)
    if mode == "LA":
        image = image.convert("RGBA")
    # 16-bit greys open as "I;16" or "I"; they keep their depth until they are scaled.
    return to_rgb(np.asarray(image), str(path))
