"""The compiled kernels behind the adapters of cells, each imported, with numba, on its first use."""

from __future__ import annotations

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
}


def kernel(name: str) -> Callable[..., Any]:
    """A kernel by name."""
    function: Callable[..., Any] = getattr(_module(_HOMES[name]), name)
    return function


def _module(home: str) -> ModuleType:
    return import_module(f"{__name__}.{home}_numba")
