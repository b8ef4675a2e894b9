"""What Python does not offer of the system: names swapped in one step, a disk that has what is written."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

__all__ = ["exchange", "to_disk"]


def exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, so that each is there at any moment; whether the system can.

    Parameters
    ----------
    one, other
        Paths on one disk.
    """
    swap = _call("renameat2")
    # AT_FDCWD and RENAME_EXCHANGE of Linux.
    here, both = -100, 2
    return swap is not None and bool(swap(here, os.fsencode(one), here, os.fsencode(other), both) == 0)


def to_disk(finished: Path) -> None:
    """Have the disk hold a file or folder, so that not even a power cut leaves half of it under its name."""
    number = os.open(finished, os.O_RDONLY)
    try:
        # One call for all files of a folder, which a zarr store has thousands of.
        (os.fsync if finished.is_file() else _call("syncfs") or os.fsync)(number)
    finally:
        os.close(number)


def _call(name: str) -> Any:
    """A function of the C library; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
