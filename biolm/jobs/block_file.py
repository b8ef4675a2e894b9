"""The file of one block's results: a safetensors file, written from the arrays and mapped back, never copied.

Dimensions: ``n`` rows of the block.

The library makes bytes of all arrays first, and arrays of all bytes: for a block of tokens that costs more
than making them. Texts are kept as UTF-8 bytes and lengths, since the files hold numbers alone.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

__all__ = ["Arrays", "is_whole", "read_block", "write_block"]

Arrays = Mapping[str, NDArray[Any]]
"""What one block gives: arrays by name, numbers or texts."""

_DIGEST = "sha256"  # of the arrays, in the head of the file
_METADATA, _PLACES = "__metadata__", "data_offsets"
_TEXT, _LENGTHS = ".text", ".lengths"
_BYTES = 8  # of the number before the head; arrays begin at a multiple of it
_SIZES = {"I": (1, 2, 4, 8), "U": (1, 2, 4, 8), "F": (2, 4, 8)}
_KINDS = {f"{k}{8 * size}": np.dtype(f"<{k.lower()}{size}") for k, sizes in _SIZES.items() for size in sizes}
_KINDS["BOOL"] = np.dtype(np.bool_)
_WORDS = {kind: word for word, kind in _KINDS.items()}
# What reading a head that is damaged, or none, can raise.
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ArithmeticError)


def write_block(path: Path, arrays: Arrays) -> None:
    """Write the results of a block.

    Parameters
    ----------
    path
        To write.
    arrays
        ``(n, ...)`` each, numbers or texts.
    """
    stored = _numbers(arrays)
    head: dict[str, Any] = {_METADATA: {_DIGEST: _digest(stored)}}
    at = 0
    # Wide numbers first: each array then begins at a multiple of its own width.
    for name in sorted(stored, key=lambda name: (-stored[name].itemsize, name)):
        values = stored[name]
        places = [at, at + values.nbytes]
        head[name] = {"dtype": _WORDS[values.dtype], "shape": list(values.shape), _PLACES: places}
        at = places[1]
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_BYTES, "little") + text)
        for name in head:
            if name != _METADATA:
                file.write(stored[name].data)


def read_block(path: Path) -> dict[str, NDArray[Any]]:
    """The results of a block, mapped: a page is read when it is looked at, and copied when it is changed.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        stored, _ = _mapped(path)
    except _DAMAGE as error:
        raise InputError(f"{path} cannot be read ({error}); do the job again") from error
    arrays: dict[str, NDArray[Any]] = {}
    for name, values in stored.items():
        if name.endswith(_TEXT):
            lengths, whole = stored[name.removesuffix(_TEXT) + _LENGTHS], values.tobytes()
            ends = np.cumsum(lengths)
            starts = ends - lengths
            texts = [whole[a:b].decode() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
            arrays[name.removesuffix(_TEXT)] = np.array(texts, object)
        elif not name.endswith(_LENGTHS):
            arrays[name] = values
    return arrays


def is_whole(path: Path) -> bool:
    """Whether a file is as long as its head says, and holds what was written."""
    try:
        stored, digest = _mapped(path)
        return digest is None or digest == _digest(stored)  # blocks of earlier versions have none
    except _DAMAGE:
        return False


def _numbers(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays as files hold them."""
    stored: dict[str, NDArray[Any]] = {}
    for name, values in arrays.items():
        if values.dtype.kind in "UO":
            texts = [str(value).encode() for value in values.tolist()]
            stored[name + _TEXT] = np.frombuffer(b"".join(texts), np.uint8)
            stored[name + _LENGTHS] = np.array([len(text) for text in texts], np.int64)
        else:
            stored[name] = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return stored


def _digest(arrays: Arrays) -> str:
    """SHA-256 of the arrays of a block and their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _mapped(path: Path) -> tuple[dict[str, NDArray[Any]], str | None]:
    """Arrays of a file, and the digest that it notes.

    Raises one of ``_DAMAGE`` if its head is damaged, or the file is not as long as it says.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(_BYTES), "little")
        length = path.stat().st_size - _BYTES - size
        if not size or length < 0:
            raise ValueError("it is cut short")
        head = json.loads(file.read(size))
        noted = head.pop(_METADATA, {}).get(_DIGEST)
        if length != max((entry[_PLACES][1] for entry in head.values()), default=0):
            raise ValueError("it is cut short")
        # Readers may write into what they get; the file stays as it is.
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    arrays = {}
    for name, entry in head.items():
        kind, (start, stop) = _KINDS[entry["dtype"]], entry[_PLACES]
        if not 0 <= start <= stop:
            raise ValueError("it names no place of an array")
        values = np.frombuffer(whole, np.uint8)[_BYTES + size + start : _BYTES + size + stop]
        arrays[name] = values.view(kind).reshape(entry["shape"])
    return arrays, noted
