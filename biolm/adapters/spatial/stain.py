"""Stain normalisation (Macenko et al. 2009), fitted once a section, on tissue alone.

Dimensions: ``b`` patches · ``o`` pixels along a patch · ``p`` pixels with stain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["StainNormaliser"]

LEAST_DENSITY = 0.15
LEAST_PIXELS = 100
_ANGLES = (1.0, 99.0)
# Haematoxylin and eosin as Macenko et al. give them, and their largest concentrations.
REFERENCE = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
REFERENCE_MOST = np.array([1.9705, 1.0308])


@dataclass(frozen=True, slots=True)
class StainNormaliser:
    """Turns the two stains of a section into the reference's.

    Parameters
    ----------
    stains
        ``(2, 3)`` optical densities of haematoxylin and eosin; None where the section showed too little
        stain, and then nothing is changed.
    most
        ``(2,)`` 99th percentile of their concentrations.
    """

    stains: NDArray[np.float64] | None
    most: NDArray[np.float64]

    @classmethod
    def fit(cls, pixels: NDArray[np.uint8]) -> StainNormaliser:
        """Find the stains in pixels ``(…, 3)`` of a section.

        Pixels without stain, as in blank patches, take no part; where too few are left the result changes
        nothing, so neither a division by zero nor a singular matrix can happen.

        Examples
        --------
        >>> StainNormaliser.fit(np.full((8, 8, 3), 255, np.uint8)).stains is None
        True
        """
        density = _density(pixels.reshape(-1, 3))
        density = density[(density > LEAST_DENSITY).all(1)]
        nothing = cls(None, np.ones(2))
        if len(density) < LEAST_PIXELS:
            return nothing
        _, axes = np.linalg.eigh(np.cov(density.T))
        plane = axes[:, [2, 1]]
        # The sign of an eigenvector is arbitrary; stains only take light out.
        plane = plane * np.where(plane.sum(0) < 0, -1, 1)
        projected = density @ plane
        angle = np.arctan2(projected[:, 1], projected[:, 0])
        # Not the extremes: single pixels of dust would be taken for a stain.
        low, high = np.percentile(angle, _ANGLES)
        stains = np.stack([plane @ np.array([np.cos(a), np.sin(a)]) for a in (low, high)])
        stains = stains / np.linalg.norm(stains, axis=1, keepdims=True)
        if stains[0, 0] < stains[1, 0]:  # haematoxylin takes out more red
            stains = stains[::-1]
        if np.linalg.cond(stains) > 1e3 or (stains < -0.1).any():
            return nothing
        most = np.percentile(_concentrations(density, stains), 99, axis=0)
        return cls(stains, most) if (most > 1e-3).all() else nothing

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Patches ``(b, o, o, 3)`` in the reference's colours; a patch without stain comes back unchanged."""
        if self.stains is None:
            return pixels
        out = pixels.copy()
        for place, patch in enumerate(pixels):
            density = _density(patch.reshape(-1, 3))
            if ((density > LEAST_DENSITY).all(1)).sum() < LEAST_PIXELS:
                continue
            amount = _concentrations(density, self.stains) * (REFERENCE_MOST / self.most)
            light = 240 * np.exp(-amount @ REFERENCE)
            out[place] = np.clip(np.rint(light), 0, 255).astype(np.uint8).reshape(patch.shape)
        return out


def _density(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.maximum(-np.log((pixels.astype(np.float64) + 1) / 241), 0)


def _concentrations(density: NDArray[np.float64], stains: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(p, 2)`` amounts of the stains, not below 0."""
    solved, *_ = np.linalg.lstsq(stains.T, density.T, rcond=None)
    return np.asarray(np.maximum(solved.T, 0))
