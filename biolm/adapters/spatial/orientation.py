"""Whether spots lie on the tissue, and whether a flip or turn would fit better.

Dimensions: ``n`` spots.

All eight symmetries of the square keep the spots of most sections inside the image, so "falls off the image"
finds no mistake; the fraction of spots on tissue does, where there is background to fall on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.spatial.tissue import TissueMask
from biolm.errors import InputError

__all__ = ["SYMMETRIES", "Orientation", "check_orientation"]

SYMMETRIES = (
    "as stored",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180 degrees",
    "rows and columns swapped",
    "turned by 90 degrees clockwise",
    "turned by 90 degrees counter-clockwise",
    "swapped and turned by 180 degrees",
)
CLEARLY = 0.1
"""Difference of fractions on tissue that decides."""
LEAST_ON_TISSUE = 0.75
MOST_TISSUE = 0.9
"""Part of the image that may be tissue for the test to mean anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """Result of the test.

    Parameters
    ----------
    on_tissue
        Fraction of spots on tissue for each of the eight symmetries, by name.
    inside
        Fraction of spots inside the image, likewise.
    tissue
        Part of the image that is tissue.
    verdict
        ``right``, or ``cannot be checked`` where a flip or turn fits about as well.
    """

    on_tissue: dict[str, float]
    inside: dict[str, float]
    tissue: float
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a report."""
        return {
            "verdict": self.verdict,
            "tissue": round(self.tissue, 4),
            "on_tissue": {name: round(value, 4) for name, value in self.on_tissue.items()},
            "inside": {name: round(value, 4) for name, value in self.inside.items()},
        }


def symmetries(xy: NDArray[np.float64], width: float, height: float) -> dict[str, NDArray[np.float64]]:
    """Places under each symmetry, ``(n, 2)``, in an image of that size.

    A swap of rows and columns keeps the numbers, as a reader does that takes row for x.
    """
    x, y = xy[:, 0], xy[:, 1]
    moved = [
        (x, y),
        (width - x, y),
        (x, height - y),
        (width - x, height - y),
        (y, x),
        (width - y, x),
        (y, height - x),
        (width - y, height - x),
    ]
    return {name: np.stack(pair, 1) for name, pair in zip(SYMMETRIES, moved, strict=True)}


def check_orientation(
    xy: NDArray[np.float64], mask: TissueMask, size: tuple[int, int], name: str, *, force: bool = False
) -> Orientation:
    """Compare the places as stored with their flips and turns.

    Parameters
    ----------
    xy
        ``(n, 2)`` places in pixels of the image.
    mask
        Its tissue.
    size
        Its width and height.
    name
        Names the section in errors.
    force
        Report and never refuse.

    Raises
    ------
    InputError
        If spots lie outside the image, another orientation clearly fits better, or few spots are on tissue.
    """
    width, height = size
    places = symmetries(xy, width, height)
    limits = np.array([width, height])
    inside = {key: float(((p >= 0) & (p < limits)).all(1).mean()) for key, p in places.items()}
    on_tissue = {key: float(mask.on_tissue(p).mean()) for key, p in places.items()}
    stored = on_tissue[SYMMETRIES[0]]
    others = {key: value for key, value in on_tissue.items() if key != SYMMETRIES[0]}
    best = max(others, key=lambda key: others[key])
    if not force:
        _refuse(xy, inside[SYMMETRIES[0]], size, name)
        if others[best] > stored + CLEARLY:
            raise InputError(
                f"{name}: {stored:.0%} of the spots lie on tissue as stored but {others[best]:.0%} when "
                f"{best}; correct the coordinates or the image, or go on as they are (`force_alignment=True`)"
            )
        if mask.fraction < MOST_TISSUE and stored < LEAST_ON_TISSUE:
            raise InputError(
                f"{name}: only {stored:.0%} of the spots lie on tissue in any orientation that fits; the "
                "image is probably of another section or scale (`force_alignment=True` goes on)"
            )
    # Where all is tissue, flips fit as well as the truth.
    decided = mask.fraction < MOST_TISSUE and stored > max(others[best] + CLEARLY / 2, LEAST_ON_TISSUE)
    verdict = "right" if decided else "cannot be checked"
    return Orientation(on_tissue=on_tissue, inside=inside, tissue=mask.fraction, verdict=verdict)


def _refuse(xy: NDArray[np.float64], inside: float, size: tuple[int, int], name: str) -> None:
    if inside < 1:
        low, high = xy.min(0), xy.max(0)
        raise InputError(
            f"{name}: {1 - inside:.0%} of the spots lie outside the image of {size[0]} x {size[1]} pixels "
            "(they "
            f"span {low[0]:.0f} to {high[0]:.0f} by {low[1]:.0f} to {high[1]:.0f}); give the image that the "
            "coordinates belong to, or its scale (`image_scale`), or leave those spots out (`edge='drop'`)"
        )
