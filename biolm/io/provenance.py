"""Where a result came from, as plain strings, numbers and dictionaries.

The record holds no date and no path, so that the same input and seed give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["digest", "plain", "stamp"]

# Bytes that are read of an input to know it again: all, or pieces of it.
_WHOLE, _PIECE, _LEAST = 1 << 26, 1 << 18, 1 << 12


def plain(value: Any) -> Any:
    """The value as HDF5, zarr and JSON all can hold it.

    Dictionaries are sorted (some readers hand them over in another order each time), lose entries that
    are None, and have "/" in their keys replaced by "_" (HDF5 reads "/" as a path). Lists become
    comma-separated text. Numpy scalars become Python's.

    Examples
    --------
    >>> plain({"pools": ("cls", "mean"), "a/b": 1, "nothing": None})
    {'a_b': 1, 'pools': 'cls, mean'}
    """
    if isinstance(value, Mapping):
        # A slash would open a group within the group.
        entries = {str(key).replace("/", "_"): entry for key, entry in value.items() if entry is not None}
        return {key: plain(entries[key]) for key in sorted(entries)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return ", ".join(value.tolist())
    # HDF5 and zarr have no lists of mixed types.
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return ", ".join(str(plain(entry)) for entry in value)
    return str(value)


def digest(facts: Mapping[str, Any]) -> str:
    """SHA-256 over facts, whatever the order of their keys.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(plain(facts), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(path: Path | None) -> str:
    """SHA-256 of what a file, or the files of a folder, hold, wherever they lie; '' for None.

    A copy has the stamp of its original. Of more than 64 MB the sizes are read, and 256 pieces from the first
    byte to the last: a job on hundreds of gigabytes begins at once, and an edit of a few bytes between two
    pieces, which leaves the size as it was, is not seen.
    """
    if path is None:
        return ""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    sizes = {file: file.stat().st_size for file in files if file.is_file()}
    # Names within the folder, not where it lies: a moved or copied input is the same input.
    names = {str(file.relative_to(path)): size for file, size in sizes.items()}
    contents = hashlib.sha256(json.dumps(names).encode())
    total = sum(sizes.values())
    for file, size in sizes.items():
        quota = size if total <= _WHOLE else _WHOLE * size // total
        count, piece = max(1, quota // _PIECE), min(max(quota, _LEAST), _PIECE)
        places = range(0, size, _PIECE) if quota == size else np.linspace(0, max(0, size - piece), count)
        with file.open("rb") as stream:
            for place in places:
                stream.seek(int(place))
                contents.update(stream.read(piece))
    return contents.hexdigest()
