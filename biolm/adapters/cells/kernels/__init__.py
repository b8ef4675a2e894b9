"""The kernels behind the adapters of cells: compiled ones, and twins in plain numpy that give the same bytes.

Importing numba and reading compiled code takes half a second, longer than small blocks do in numpy: a process
imports it once it has seen as many values as that is worth.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
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
    "sum_rows": "mean",
}
_PATIENCE = 1 << 22  # stored values that numpy works through, in half a second, before numba is imported
_worked: Counter[str] = Counter()  # those so far, by kernel


def kernel(name: str, size: int) -> Callable[..., Any]:
    """A kernel by name.

    Parameters
    ----------
    name
        Of the kernel.
    size
        Stored values of the block that it is for.
    """
    _worked[name] += size
    compiled = _worked.total() > _PATIENCE or f"{__name__}.{_HOMES[name]}_numba" in sys.modules
    function: Callable[..., Any] = getattr(_module(_HOMES[name], compiled=compiled), name)
    return function


def _module(home: str, *, compiled: bool) -> ModuleType:
    return import_module(f"{__name__}.{home}_{'numba' if compiled else 'plain'}")
