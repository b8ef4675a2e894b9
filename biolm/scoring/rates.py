"""False discovery rates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["adjusted"]


def adjusted(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """False discovery rates of Benjamini and Hochberg (1995); NaN stays and does not count.

    Examples
    --------
    >>> adjusted(np.array([0.01, 0.04, np.nan, 0.02])).round(3).tolist()
    [0.03, 0.04, nan, 0.03]
    """
    out = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    # From the largest p down, so that a smaller p never has a larger rate.
    out[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return out
