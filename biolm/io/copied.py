"""Copies of files in a form that is faster to read, made once and made anew when the files change."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from biolm.io.atomic import remove, replacing
from biolm.io.locks import alone
from biolm.io.provenance import digest, stamp

__all__ = ["copied"]

_SOURCES = "sources.json"


def copied(files: Sequence[Path], folder: Path, write: Callable[[Path], object]) -> Path:
    """The folder with the copy; of several processes that want it one makes it, the others wait.

    Parameters
    ----------
    files
        What is copied.
    folder
        Of the copy.
    write
        Makes it, in a folder that is not there yet.
    """
    # By content and order, so that a copy of other files is never taken for theirs.
    now = digest({str(place): stamp(path) for place, path in enumerate(files)})
    with alone(folder):
        if _sources(folder) != now:
            remove(folder)
            write(folder)
            with replacing(folder / _SOURCES) as temporary:
                temporary.write_text(json.dumps({"sha256": now}) + "\n", encoding="utf-8")
    return folder


def _sources(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _SOURCES).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
