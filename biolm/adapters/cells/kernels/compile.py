"""Compile a kernel on its first call, and find it compiled the next time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled"]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile on first call and keep the result on disk.

    numba keeps it beside the module, or in the user's cache folder where that is read-only. Where neither
    can be written the kernel is compiled once a process instead.
    """
    # numba's cache notices changes of a kernel's own file only, not of the kernels it calls from others.
    # The name under which it is kept therefore tells the state of every kernel in the folder.
    function.__qualname__ += f"_{_state(Path(function.__code__.co_filename).parent)}"
    try:
        return cast(Kernel, numba.njit(function, cache=True, nogil=True, error_model="numpy"))
    except RuntimeError:
        return cast(Kernel, numba.njit(function, nogil=True, error_model="numpy"))


@cache
def _state(folder: Path) -> str:
    """Digest of the kernels of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*_numba.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
