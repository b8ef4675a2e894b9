"""Colours of a patch in 27 numbers: the plainest image encoder, and hard to beat on few sections.

Dimensions: ``b`` patches · ``o`` pixels along a patch · ``s`` cells along a grid over the patch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

__all__ = ["COLOUR_NAMES", "colour_features", "colour_grid"]

_PERCENTILES = (5, 25, 50, 75, 95)
COLOUR_NAMES = tuple(
    [f"mean {c}" for c in "RGB"]
    + [f"sd {c}" for c in "RGB"]
    + [f"{p} % {c}" for p in _PERCENTILES for c in "RGB"]
    + [f"mean optical density {c}" for c in "RGB"]
    + [f"sd optical density {c}" for c in "RGB"]
)
"""What each number is."""


def colour_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(b, 27)`` numbers of patches ``(b, o, o, 3)``.

    Mean, standard deviation and five percentiles of each colour; mean and standard deviation of its optical
    density ``−ln((v + 1) / 256)``.

    Examples
    --------
    >>> colour_features(np.full((1, 4, 4, 3), 255, np.uint8))[0, :4].tolist()
    [255.0, 255.0, 255.0, 0.0]
    """
    return colour_grid(pixels, 1)[:, 0]


def colour_grid(pixels: NDArray[np.uint8], cells: int) -> NDArray[np.float32]:
    """``(b, 1 + s * s, 27)`` numbers of the whole patch, then of the cells of a grid over it, row by row.

    Parameters
    ----------
    pixels
        ``(b, o, o, 3)`` patches.
    cells
        ``s``, along a side of the grid.

    Raises
    ------
    InputError
        If the patch does not divide into that many cells.
    """
    side = pixels.shape[1]
    if cells < 1 or side % cells:
        raise InputError(f"patches of {side} pixels do not divide into {cells} x {cells} cells")
    cell = np.repeat(np.arange(cells), side // cells)
    # Every number follows from how often each of the 256 levels occurs, which is cheap to count.
    bins = ((cell[:, None] * cells + cell)[..., None] * 3 + np.arange(3)) * 256  # (o, o, 3)
    size = cells * cells * 3 * 256
    counts = np.stack([np.bincount((bins + patch).ravel(), minlength=size) for patch in pixels])
    inner = counts.reshape(len(pixels), cells * cells, 3, 256)
    return _numbers(np.concatenate((inner.sum(1, keepdims=True), inner), 1).astype(np.float64))


def _numbers(counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """``(b, c, 27)`` numbers from counts of levels ``(b, c, 3, 256)``."""
    levels = np.arange(256, dtype=np.float64)
    density = -np.log((levels + 1) / 256)
    total = counts.sum(-1)
    parts = [*_moments(counts, levels, total)]
    below = np.cumsum(counts, -1)
    for percent in _PERCENTILES:
        rank = np.rint(percent / 100 * (total - 1))
        parts.append((below <= rank[..., None]).sum(-1))
    parts += _moments(counts, density, total)
    return np.concatenate(parts, -1).astype(np.float32)


def _moments(
    counts: NDArray[np.float64], values: NDArray[np.float64], total: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation ``(b, c, 3)`` of values that occur so often."""
    mean = counts @ values / total
    return mean, np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0))
