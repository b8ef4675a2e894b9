"""Memory: what weights need, and what this machine has left."""

from __future__ import annotations

import os
from pathlib import Path

from biolm.errors import CheckpointError
from biolm.progress import log

__all__ = ["available_memory", "check_memory"]

_GIB = 1 << 30


def available_memory() -> int | None:
    """Bytes that a new process can take without swapping; None where nobody tells."""
    limits = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        try:
            # macOS and BSD have no /proc.
            limits.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (ValueError, OSError):
            return None
    # A container may have less than the machine tells it.
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit is not None:
        limits.append(max(0, limit - (used or 0)))
    return min(limits, default=None)


def _number(path: Path) -> int | None:
    """The number in a file of the control group; None where there is no limit or no file."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def check_memory(name: str, needed: int, parameters: int) -> None:
    """Tell what a model needs, before its weights are read.

    Parameters
    ----------
    name
        Of the model.
    needed
        Bytes of its weights.
    parameters
        How many numbers they are.

    Raises
    ------
    CheckpointError
        If that is more than there is.
    """
    left = available_memory()
    if needed >= _GIB:
        log.info("%s: %s parameters, %.1f GiB of weights", name, f"{parameters:,}", needed / _GIB)
    if left is not None and needed > left:
        raise CheckpointError(
            f"{name} needs {needed / _GIB:.1f} GiB for its {parameters:,} parameters, but this machine has "
            f"{left / _GIB:.1f} GiB left; use a machine with more memory, a smaller model or dtype bfloat16"
        )
