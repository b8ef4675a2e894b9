"""Where the data that ships with biolm lies."""

from __future__ import annotations

from pathlib import Path

from biolm.errors import InputError

__all__ = ["shipped"]


def shipped(name: str) -> Path:
    """Path of a shipped data file or folder.

    In an installed wheel the repository's ``data/`` folder lies inside the package as ``_data``; in a
    checkout it lies beside the package.

    Raises
    ------
    InputError
        If this installation does not hold it.
    """
    package = Path(__file__).resolve().parent
    # An installed package carries the data inside; a checkout has them beside it.
    for folder in (package / "_data", package.parent / "data"):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"this installation of biolm does not hold data/{name}; reinstall biolm")
