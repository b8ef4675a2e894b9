"""Anti-aliased shrinking of regions, in stripes where a level is larger than memory should hold.

Dimensions: ``H``, ``W`` pixels of a level.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.io.spatial.images import Level

__all__ = ["resize", "shrink", "whole"]

_STRIPE_PIXELS = 1 << 25


def whole(pixels: NDArray[np.uint8]) -> Level:
    """A level over pixels ``(H, W, 3)`` in memory."""
    return Level(pixels.shape[1], pixels.shape[0], 1.0, lambda x, y, w, h: pixels[y : y + h, x : x + w])


def resize(
    pixels: NDArray[np.uint8], size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """Pixels of a part of an image at another size, anti-aliased.

    Parameters
    ----------
    pixels
        ``(H, W, 3)``.
    size
        Width and height of the result.
    box
        Part that is taken, ``(left, top, right, bottom)`` in fractions of pixels; all by default.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    # Pillow widens the filter when it shrinks, so bilinear is anti-aliased; it alone takes fractions.
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))


def shrink(level: Level, width: int) -> NDArray[np.uint8]:
    """A whole level at ``width`` pixels, read in stripes.

    Parameters
    ----------
    level
        Of the image.
    width
        In pixels.
    """
    factor = level.width / width
    height = max(1, round(level.height / factor))
    lines = max(1, int(_STRIPE_PIXELS // max(level.width, 1) / factor))
    parts = []
    for first in range(0, height, lines):
        last = min(first + lines, height)
        top, bottom = first * level.height / height, last * level.height / height
        # A few more rows on each side, so that stripes meet without a seam.
        y0 = max(0, int(top - 2 * factor))
        y1 = min(level.height, int(np.ceil(bottom + 2 * factor)))
        pixels = level.read(0, y0, level.width, y1 - y0)
        box = (0.0, top - y0, float(level.width), bottom - y0)
        parts.append(resize(pixels, (width, last - first), box))
    return np.concatenate(parts)
