"""Micrometres per pixel: stated, or from the pitch of the grid of spots; never guessed.

Dimensions: ``n`` spots.

The diameter of a spot is no ruler: taken for 55 µm, as 10x calls a Visium spot, the scale of real sections
is 16 % off. The pitch is: 100 µm for Visium, 200 µm for Spatial Transcriptomics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.spatial.section import Section

__all__ = ["Grid", "PixelSize", "find_pixel_size", "fit_grid"]

_ARRAYS = (("array_row", "array_col"), ("array_y", "array_x"))


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid that spots lie on.

    Parameters
    ----------
    pitch
        Distance of neighbours, in the unit of the places.
    method
        ``grid`` (fitted to array coordinates) or ``nearest neighbours``.
    scatter
        Root mean square distance of the spots from the fitted grid; NaN for nearest neighbours.
    """

    pitch: float
    method: str
    scatter: float


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Micrometres per pixel of the coordinates, and where the number came from.

    Parameters
    ----------
    value
        Micrometres.
    source
        ``option``, ``microns_per_pixel``, ``image metadata`` or ``spot pitch``.
    others
        What the other sources say, by name.
    """

    value: float
    source: str
    others: dict[str, float]

    @property
    def disagreement(self) -> float:
        """Largest relative difference of another source."""
        return max((abs(other / self.value - 1) for other in self.others.values()), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a report."""
        return {"microns_per_pixel": self.value, "source": self.source, "others": self.others}


def fit_grid(xy: NDArray[np.float64], columns: dict[str, NDArray[Any]] | None = None) -> Grid:
    """Pitch of the grid of spots.

    Where array coordinates are at hand, the grid is fitted to them by least squares, so that spots which were
    moved by hand (Spatial Transcriptomics) do not matter: their nearest-neighbour distance is too small.

    Parameters
    ----------
    xy
        ``(n, 2)`` places.
    columns
        Columns of the spot table, among them ``array_row`` and ``array_col``, or ``array_x`` and ``array_y``.

    Raises
    ------
    InputError
        If there are fewer than four spots.

    Examples
    --------
    >>> row, col = np.divmod(np.arange(12), 4)
    >>> fit_grid(np.stack((col * 50.0, row * 50.0), 1), {"array_row": row, "array_col": col}).pitch
    50.0
    """
    if len(xy) < 4:
        raise InputError(f"{len(xy)} spots are too few to find the pitch of a grid; give `microns_per_pixel`")
    for first, second in _ARRAYS:
        if columns is not None and first in columns and second in columns:
            v, u = (np.asarray(columns[name], np.float64) for name in (first, second))
            if np.ptp(u) > 0 and np.ptp(v) > 0:
                return _fitted(xy, u, v)
    from scipy.spatial import KDTree

    # The nearest spot is the spot itself.
    distance, _ = KDTree(xy).query(xy, k=2)
    return Grid(float(np.median(distance[:, 1])), "nearest neighbours", float("nan"))


def _fitted(xy: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]) -> Grid:
    design = np.stack((u, v, np.ones(len(u))), 1)
    steps, *_ = np.linalg.lstsq(design, xy, rcond=None)
    scatter = float(np.sqrt(((design @ steps - xy) ** 2).sum(1).mean()))
    along_u, along_v = steps[0], steps[1]
    if ((u + v) % 2 == (u[0] + v[0]) % 2).all():
        # Visium numbers a hexagonal grid so that row + column is even: neighbours are two columns away,
        # or one row and one column.
        near = [2 * along_u, along_v + along_u, along_v - along_u]
    else:
        near = [along_u, along_v]
    pitch = float(np.mean([np.hypot(*step) for step in near]))
    return Grid(round(pitch, 9), "grid", scatter)


def find_pixel_size(
    section: Section,
    *,
    option: float | None = None,
    image: float | None = None,
    pitch_um: float | None = None,
) -> PixelSize:
    """Micrometres per pixel of the section's coordinates.

    Parameters
    ----------
    section
        The section.
    option
        What the user gives, which wins.
    image
        What the metadata of the image say.
    pitch_um
        Distance of neighbouring spots, where the layout does not state it.

    Raises
    ------
    InputError
        If nothing states it, or a number is not above 0.
    """
    if section.unit == "um":
        return PixelSize(1.0, "coordinates in micrometres", {})
    sizes: dict[str, float] = {}
    for name, value in (
        ("option", option),
        ("microns_per_pixel", section.microns_per_pixel),
        ("image metadata", image),
    ):
        if value is not None:
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"{section.name}: {name} gives {value} µm per pixel; it must be above 0")
            sizes[name] = float(value)
    pitch = pitch_um or section.spot_pitch_um
    if pitch and len(section) >= 4:
        sizes["spot pitch"] = pitch / fit_grid(section.xy, dict(section.columns)).pitch
    if not sizes:
        raise InputError(
            f"{section.name}: nothing states how many micrometres a pixel has; give `microns_per_pixel`, "
            "or the "
            "distance between neighbouring spots (`spot_pitch_um`: Visium 100, Spatial Transcriptomics 200)"
        )
    source = next(iter(sizes))
    return PixelSize(sizes.pop(source), source, sizes)
