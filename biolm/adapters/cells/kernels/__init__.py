"""The kernels behind the adapters of cells: compiled where numba is there, in numpy where it is not.

Both give the same bytes. ``BIOLM_NO_NUMBA=1`` chooses numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["kernel"]

_HOMES = {
    "scan_rows": "rows",
    "merge_rows": "rows",
    "rank_rows": "rank",
    "bin_rows": "bins",
    "continuous_rows": "continuous",
    "log1p": "log",
    "mean_rows": "mean",
}


def kernel(name: str) -> Callable[..., Any]:
    """A kernel by name, from the faster of the two twins that can run here."""
    compiled = os.environ.get("BIOLM_NO_NUMBA") != "1" and find_spec("numba") is not None
    module = import_module(f"{__name__}.{_HOMES[name]}_{'numba' if compiled else 'numpy'}")
    function: Callable[..., Any] = getattr(module, name)
    return function
