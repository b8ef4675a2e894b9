"""Compile a kernel on its first call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled"]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile on first call and keep the result on disk.

    numba keeps it beside the module, or in the user's cache folder where that is read-only. Where neither
    can be written the kernel is compiled once a process instead.
    """
    try:
        return cast(Kernel, numba.njit(function, cache=True, nogil=True, error_model="numpy"))
    except RuntimeError:
        return cast(Kernel, numba.njit(function, nogil=True, error_model="numpy"))
