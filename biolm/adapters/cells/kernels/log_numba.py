"""The compiled logarithm of the adapters; its twin in plain numpy gives the same bytes.

A library's logarithm differs in its last bits between platforms, and between numpy and compiled code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels.compile import compiled

__all__ = ["log1p"]

LN2 = 0.6931471805599453
SQRT2 = 1.4142135623730951
MANTISSA = (1 << 52) - 1
ONE = 1023 << 52


@compiled
def log1p(values: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Write log(1 + value) of ``values (t,) >= 0`` to ``out (t,)``, using ``values`` as working space.

    ``1 + y = 2**k m`` with m near 1, and ``log m = 2 artanh((m - 1) / (m + 1))`` by its series (Abramowitz
    and Stegun, 1964, 4.1.27); the error in float64 stays under two units in the last place.

    Parameters
    ----------
    values
        ``(t,)``, at least 0; used up.
    out
        ``(t,)``, written.
    """
    bits = values.view(np.int64)
    for place in range(len(values)):
        y = values[place]
        total = 1.0 + y
        lost = (y - (total - 1.0)) / total
        values[place] = total
        power = np.float64((bits[place] >> 52) - 1023)
        bits[place] = (bits[place] & MANTISSA) | ONE
        m = values[place]
        if m > SQRT2:
            m *= 0.5
            power += 1.0
        s = (m - 1.0) / (m + 1.0)
        z = s * s
        series = z * (1 / 15 + z * (1 / 17 + z * (1 / 19 + z * (1 / 21))))
        series = z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + series))))
        series = z * (1 / 3 + z * (1 / 5 + series))
        out[place] = power * LN2 + (2 * s + (2 * s * series + lost))
