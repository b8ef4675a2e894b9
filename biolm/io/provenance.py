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
        entries = {str(key).replace("/", "_"): entry for key, entry in value.items() if entry is not None}
        return {key: plain(entries[key]) for key in sorted(entries)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return ", ".join(value.tolist())
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
    """Sizes and times of change of a file, or of the files of a folder, wherever they lie; '' for None."""
    if path is None:
        return ""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [file.stat() for file in files if file.is_file()]
    return digest({str(n): [state.st_size, state.st_mtime_ns] for n, state in enumerate(states)})
