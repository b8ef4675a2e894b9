"""The logarithm of the adapters in numpy; the compiled kernel explains the formula."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["log1p"]

LN2 = 0.6931471805599453
SQRT2 = 1.4142135623730951


def log1p(values: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Write log(1 + value) of ``values (t,) >= 0`` to ``out (t,)``, using ``values`` as working space.

    Parameters
    ----------
    values, out
        As of :func:`~biolm.adapters.cells.kernels.log_numba.log1p`.
    """
    total = 1.0 + values
    lost = (values - (total - 1.0)) / total
    m, exponent = np.frexp(total)  # m in [0.5, 1): the compiled kernel halves only above sqrt(2)
    small = m * 2.0 <= SQRT2
    m = np.where(small, m * 2.0, m)
    power = exponent - small.astype(np.float64)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = z * (1 / 15 + z * (1 / 17 + z * (1 / 19 + z * (1 / 21))))
    series = z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + series))))
    series = z * (1 / 3 + z * (1 / 5 + series))
    out[:] = power * LN2 + (2 * s + (2 * s * series + lost))
