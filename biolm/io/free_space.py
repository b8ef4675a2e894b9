"""Whether a disk has room for an output."""

from __future__ import annotations

import shutil
from pathlib import Path

from biolm.errors import OutputError

__all__ = ["check_free_space"]


def check_free_space(target: Path, needed: int) -> None:
    """Refuse a job whose output cannot fit, before hours are spent on it.

    Parameters
    ----------
    target
        Where the output will lie.
    needed
        Bytes that it takes, about.

    Raises
    ------
    OutputError
        If the disk has less room.
    """
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise OutputError(
            f"{target} needs about {_size(needed)} but only {_size(free)} are free there; "
            "free some space or choose another place"
        )


def _size(count: int) -> str:
    """Bytes as people write them."""
    for unit, step in (("GB", 10**9), ("MB", 10**6)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count / 1000:.1f} kB"
