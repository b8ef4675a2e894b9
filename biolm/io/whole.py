"""A look at the size of a file that is mapped: reading past its end would end the process without a word."""

from __future__ import annotations

import os
from pathlib import Path

from biolm.errors import InputError

__all__ = ["check_whole"]


def check_whole(path: str | Path, size: int, handle: int | None = None) -> None:
    """Refuse to read on where a file has become shorter since it was opened.

    A process that reads a map behind the end of its file gets the signal SIGBUS, which nothing can catch. A
    look costs a microsecond, so it goes before every read.

    Parameters
    ----------
    path
        Of the file.
    size
        Bytes that it must have.
    handle
        Number of the open file, where there is one.

    Raises
    ------
    InputError
        If it is shorter.
    """
    try:
        now = (Path(path).stat() if handle is None else os.fstat(handle)).st_size
    except FileNotFoundError:
        return  # what is mapped of a file that was removed can still be read
    if now < size:
        raise InputError(
            f"{path} was cut short while it was read: {now:,} of {size:,} bytes are left; put the whole file "
            "back, then run the command again (with `resume=True` where it has that)"
        )
