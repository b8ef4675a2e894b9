"""Where tissue lies: a mask of a small copy of the image.

Dimensions: ``h``, ``w`` pixels of the small copy · ``n`` points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.io.spatial.images import TissueImage

__all__ = ["DARKER", "TissueMask", "find_tissue"]

DARKER = 25
"""Grey levels by which tissue is darker than the background."""
SIDE = 1024  # longer side of the small copy


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Tissue of one image.

    Parameters
    ----------
    mask
        ``(h, w)`` true on tissue.
    factor
        Pixels of the image along one of the mask.
    background
        Grey level taken for the background.
    """

    mask: NDArray[np.bool_]
    factor: float
    background: float

    @property
    def fraction(self) -> float:
        """Part of the image that is tissue."""
        return float(self.mask.mean())

    def on_tissue(self, xy: NDArray[np.float64]) -> NDArray[np.bool_]:
        """``(n,)`` whether points ``(n, 2)`` in pixels of the image lie on tissue; outside they do not."""
        place = np.floor(np.asarray(xy) / self.factor).astype(np.int64)
        height, width = self.mask.shape
        inside = (place >= 0).all(1) & (place[:, 0] < width) & (place[:, 1] < height)
        covered = np.zeros(len(place), bool)
        covered[inside] = self.mask[place[inside, 1], place[inside, 0]]
        return covered


def find_tissue(image: TissueImage) -> TissueMask:
    """Pixels that are darker than the background by 25 grey levels, lightly smoothed.

    The background is the commonest grey level of the lighter half. An image that is all tissue has none; its
    mask says little then, which ``fraction`` shows.

    Parameters
    ----------
    image
        The image.
    """
    from scipy.ndimage import uniform_filter

    pixels, factor = image.thumbnail(SIDE)
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    # The background is the commonest level of the lighter half: tissue may cover most of the image.
    light = grey[grey >= np.median(grey)]
    heights = np.bincount(np.rint(light).astype(np.int64), minlength=256)
    background = float(np.argmax(np.convolve(heights, np.ones(5), "same")))
    # Fluorescence is signal on black: there, tissue is what is lighter.
    dark_ground = background < 64
    smooth = uniform_filter(grey, 3)
    mask = smooth > background + DARKER if dark_ground else smooth < background - DARKER
    return TissueMask(mask, factor, background)
