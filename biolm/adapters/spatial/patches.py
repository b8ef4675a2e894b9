"""Patches of a physical size around spots, cut from the nearest finer level of the image.

Dimensions: ``n`` spots · ``b`` patches of a block · ``o`` pixels along a finished patch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.spatial.images import Level, TissueImage
from biolm.io.spatial.resample import resize
from biolm.options import Option, check_options

__all__ = ["Block", "Edge", "PatchSettings", "Patches", "cut_patches", "symmetry"]

PADDING = 255

Edge = Annotated[
    str, Option(help="Patches that leave the image: drop, pad or error.", choices=("drop", "pad", "error"))
]


@dataclass(frozen=True, kw_only=True)
class PatchSettings:
    """How patches are cut.

    Parameters
    ----------
    side_um
        Micrometres along a patch.
    pixels
        Pixels along the finished patch, ``o``.
    edge
        What is done with a patch that leaves the image: ``drop``, ``pad`` (white) or ``error``.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    side_um: Annotated[float, Option(help="Micrometres along a patch.", min=1, flags=("--patch-um",))] = 112.0
    pixels: Annotated[
        int, Option(help="Pixels along a finished patch.", min=1, flags=("--patch-pixels",))
    ] = 224
    edge: Edge = "drop"

    def __post_init__(self) -> None:
        check_options(self)


class Block(NamedTuple):
    """Some patches.

    Parameters
    ----------
    rows
        ``(b,)`` spots.
    pixels
        ``(b, o, o, 3)`` uint8.
    """

    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """Patches of a section, read as they are asked for.

    Parameters
    ----------
    image, level
        What they are cut from.
    centres
        ``(n, 2)`` in pixels of the finest level.
    side
        Pixels of the finest level along a patch.
    settings
        See there.
    rows
        Spots that have a patch.
    at_edge
        How many leave the image.
    """

    image: TissueImage
    level: Level
    centres: NDArray[np.float64]
    side: float
    settings: PatchSettings
    rows: NDArray[np.int64]
    at_edge: int

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, size: int = 64) -> Iterator[Block]:
        """Patches in blocks of at most ``size``, in the order of the spots."""
        for start in range(0, len(self.rows), size):
            rows = self.rows[start : start + size]
            yield Block(rows, np.stack([self.patch(int(row)) for row in rows]))

    def patch(self, row: int) -> NDArray[np.uint8]:
        """The patch of one spot, ``(o, o, 3)``."""
        level, side = self.level, self.side / self.level.downsample
        left, top = self.centres[row] / level.downsample - side / 2
        x0, y0 = int(np.floor(left)), int(np.floor(top))
        x1, y1 = int(np.ceil(left + side)), int(np.ceil(top + side))
        inner = max(x0, 0), max(y0, 0), min(x1, level.width), min(y1, level.height)
        # Whole pixels around the patch are read; where between them it begins is left to the resampling.
        pixels = level.read(inner[0], inner[1], inner[2] - inner[0], inner[3] - inner[1])
        if inner != (x0, y0, x1, y1):
            padded = np.full((y1 - y0, x1 - x0, 3), PADDING, np.uint8)
            padded[inner[1] - y0 : inner[3] - y0, inner[0] - x0 : inner[2] - x0] = pixels
            pixels = padded
        box = (left - x0, top - y0, left - x0 + side, top - y0 + side)
        return resize(pixels, (self.settings.pixels, self.settings.pixels), box)

    def as_dict(self) -> dict[str, Any]:
        """What was cut, in numbers, for every output."""
        return {
            "patch_um": self.settings.side_um,
            "patch_pixels": self.settings.pixels,
            "patch_pixels_in_image": round(self.side, 3),
            "level_downsample": self.level.downsample,
            "patches": len(self.rows),
            "patches_at_the_edge": self.at_edge,
            "edge": self.settings.edge,
        }


def cut_patches(
    image: TissueImage,
    centres: NDArray[np.float64],
    microns_per_pixel: float,
    settings: PatchSettings | None = None,
    *,
    name: str = "the section",
) -> Patches:
    """Plan the patches around spots.

    Parameters
    ----------
    image
        The image.
    centres
        ``(n, 2)`` in pixels of this image.
    microns_per_pixel
        Of this image.
    settings
        Size and policy at the edge.
    name
        Names the section in errors.

    Raises
    ------
    InputError
        If a patch leaves the image and the policy is ``error``, if none is left, or if a patch is smaller
        than 8 pixels of the image.
    """
    settings = settings or PatchSettings()
    side = settings.side_um / microns_per_pixel
    if side < 8:
        raise InputError(
            f"{name}: a patch of {settings.side_um:g} µm is {side:.1f} pixels of this image, too few to see "
            "tissue; give the full-resolution image"
        )
    low, high = centres - side / 2, centres + side / 2
    size = np.array([image.width, image.height])
    leaves = ((low < 0) | (high > size)).any(1)
    outside = ((centres < 0) | (centres >= size)).any(1)
    at_edge = int(leaves.sum())
    if at_edge and settings.edge == "error":
        raise InputError(
            f"{name}: {at_edge} of {len(centres)} patches leave the image; choose `edge='drop'` or pad"
        )
    # Padding completes a patch at the border; a spot beyond it would be padding alone.
    rows = np.flatnonzero(~(outside if settings.edge == "pad" else leaves))
    if not len(rows):
        raise InputError(
            f"{name}: no patch of {settings.side_um:g} µm lies inside the image; check its scale"
        )
    level = image.level_for(side / settings.pixels)
    return Patches(
        image=image,
        level=level,
        centres=centres,
        side=side,
        settings=settings,
        rows=rows,
        at_edge=at_edge,
    )


def symmetry(pixels: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """One of the eight flips and turns of patches ``(b, o, o, 3)``; 0 leaves them as they are.

    Parameters
    ----------
    pixels
        ``(b, o, o, 3)`` patches.
    number
        From 0 to 7.

    Examples
    --------
    >>> patch = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    >>> symmetry(patch, 1)[0, :, :, 0].tolist()
    [[1, 3], [0, 2]]
    """
    turned = np.rot90(pixels, number % 4, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if number >= 4 else turned)
