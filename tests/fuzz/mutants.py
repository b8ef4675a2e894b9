"""Mutants of a file or folder: bytes, words, JSON and members of HDF5 that are changed, lost or moved."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["mutate"]

Rng = np.random.Generator

WORDS = (
    *(
        b"-1",
        b"0",
        b"nan",
        b"inf",
        b"1e400",
        b"1" * 5000,
        b"1000000000000",
        b"2147483648",
        b"9223372036854775808",
    ),
    *(
        b"",
        b" ",
        b"x",
        b"None",
        b"\xff\xfe",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b'"',
        b"'",
        b"\t",
        b"\r",
    ),
    *(b"3.5", b"../../x", b"/etc/passwd", b"[" * 3000, b"<" * 50, b"&x;", b"0x10", b"\xc2\xb2", b"\xd9\xa3"),
)
VALUES = (None, True, -1, 0, 1.5, 10**12, float("nan"), "", "x", [], {}, [[]], {"a": []}, "9" * 5000, ["x"])
SIZES = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 1 << 40)
TEXT = (".json", ".csv", ".tsv", ".txt", ".mtx", ".fa", ".fq", ".gb", ".embl", ".dat", ".pdb", ".cif", ".vcf")
TEXT += (".bed", ".xml", ".pubtator", ".ann", ".jsonl", ".nbib", ".conll", ".obo", ".yaml", ".geojson")


def mutate(path: Path, rng: Rng) -> str:
    """Change a file, or one file of a folder, in place.

    Parameters
    ----------
    path
        The file or folder.
    rng
        What is drawn from.

    Returns
    -------
    What was done, for the report of a fault.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    file = files[int(rng.integers(len(files)))]
    if path.is_dir() and rng.random() < 0.1:
        return _folder(path, file, files, rng)
    name = file.name if file == path else str(file.relative_to(path))
    if file.suffix == ".gz" and rng.random() < 0.7:
        inner = file.with_suffix("")
        inner.write_bytes(gzip.decompress(file.read_bytes()))
        done = _file(inner, rng)
        file.write_bytes(gzip.compress(inner.read_bytes(), 1))
        inner.unlink()
    else:
        done = _file(file, rng)
    return f"{name}: {done}"


def _file(file: Path, rng: Rng) -> str:
    content = file.read_bytes()
    ways: list[Callable[[Path, bytes, Rng], str]] = [_binary]
    if content.startswith(b"\x89HDF"):
        ways.append(_hdf5)
    if file.suffix in TEXT or (content[:1] in b"{[" and content[:1]):
        ways.append(_words)
    if content[:1] in b"{[" and content[:1]:
        ways += [_json, _json]
    return ways[int(rng.integers(len(ways)))](file, content, rng)


def _folder(path: Path, file: Path, files: list[Path], rng: Rng) -> str:
    """A member that is lost, a folder, empty, or another one."""
    other = files[int(rng.integers(len(files)))]
    way = int(rng.integers(4))
    name = file.relative_to(path)
    if way == 0:
        file.unlink()
        return f"{name} removed"
    if way == 1:
        file.unlink()
        file.mkdir()
        return f"{name} made a folder"
    if way == 2:
        shutil.copyfile(other, file.with_name("kept"))
        file.with_name("kept").replace(file)
        return f"{name} holds what {other.relative_to(path)} does"
    file.write_bytes(b"")
    return f"{name} emptied"


def _binary(file: Path, content: bytes, rng: Rng) -> str:
    """Bytes that are flipped, overwritten, lost, moved or repeated."""
    size = max(len(content), 1)
    at, length = int(rng.integers(size)), int(rng.integers(1, min(64, size) + 1))
    way = int(rng.integers(9))
    changed = bytearray(content)
    if way == 0:
        changed[at : at + 1] = bytes([(changed[at] if content else 0) ^ 1 << int(rng.integers(8))])
    elif way == 1:
        changed[at : at + length] = rng.bytes(length)
    elif way == 2:
        del changed[at:]
    elif way == 3:
        del changed[at : at + length]
    elif way == 4:
        changed[at:at] = content[at : at + length] * int(rng.integers(1, 4))
    elif way == 5:
        changed[at : at + length] = bytes([int(rng.choice([0, 255]))]) * length
    elif way == 6:
        wide = int(rng.choice([1, 2, 4, 8]))
        at = at // wide * wide
        value = SIZES[int(rng.integers(len(SIZES)))] % (1 << 8 * wide)
        changed[at : at + wide] = value.to_bytes(wide, "little")
    elif way == 7:
        other = int(rng.integers(size))
        changed[at : at + length] = content[other : other + length]
    else:
        for place in rng.integers(size, size=8).tolist():
            changed[place : place + 1] = rng.bytes(1)
    file.write_bytes(changed)
    return f"bytes at {at} (way {way}, {length})"


def _words(file: Path, content: bytes, rng: Rng) -> str:
    """A number, a word or a line of text in place of another."""
    way = int(rng.integers(5))
    if way < 3:
        pattern = (rb"\d+(\.\d+)?", rb"\w+", rb"[^\w\s]")[way]
        found = [match.span() for match in re.finditer(pattern, content[: 1 << 20])] or [(0, 0)]
        start, end = found[int(rng.integers(len(found)))]
        word = WORDS[int(rng.integers(len(WORDS)))]
        file.write_bytes(content[:start] + word + content[end:])
        return f"{content[start:end]!r} at {start} became {word[:20]!r}"
    lines = content.splitlines(keepends=True) or [b""]
    at, other = (int(place) for place in rng.integers(len(lines), size=2))
    if way == 3:
        lines[at], lines[other] = lines[other], lines[at]
        done = f"lines {at} and {other} swapped"
    elif rng.random() < 0.5:
        del lines[at]
        done = f"line {at} removed"
    else:
        lines.insert(other, lines[at])
        done = f"line {at} also before line {other}"
    file.write_bytes(b"".join(lines))
    return done


def _json(file: Path, content: bytes, rng: Rng) -> str:
    """A value of a JSON file that is another, lost or one too many."""
    try:
        document = json.loads(content)
    except ValueError:
        return _words(file, content, rng)
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [document]
    while waiting and len(places) < 2000:
        node = waiting.pop(int(rng.integers(len(waiting))))
        keys = list(node) if isinstance(node, dict) else range(len(node))
        places += [(node, key) for key in keys]
        waiting += [node[key] for key in keys if isinstance(node[key], dict | list)]
    if not places:
        return _binary(file, content, rng)
    node, key = places[int(rng.integers(len(places)))]
    if rng.random() < 0.2:
        del node[key]
        done = f"{key!r} removed"
    else:
        node[key] = VALUES[int(rng.integers(len(VALUES)))]
        done = f"{key!r} became {str(node[key])[:20]!r}"
    file.write_text(json.dumps(document), encoding="utf-8")
    return done


def _hdf5(file: Path, content: bytes, rng: Rng) -> str:
    """A member or attribute of an HDF5 file that is lost, of another type or of another size."""
    try:
        with h5py.File(file, "r+") as opened:
            names: list[str] = []
            opened.visit(names.append)
            name = names[int(rng.integers(len(names)))]
            node = opened[name]
            if node.attrs and rng.random() < 0.4:
                key = list(node.attrs)[int(rng.integers(len(node.attrs)))]
                return f"{name}: attribute {key} {_replaced(node.attrs, key, rng)}"
            if rng.random() < 0.25:
                del opened[name]
                return f"{name} removed"
            if isinstance(node, h5py.Dataset) and node.shape and rng.random() < 0.5:
                return f"{name}: {_resized(opened, name, node, rng)}"
            return f"{name}: {_replaced(opened, name, rng)}"
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return _binary(file, content, rng)


def _replaced(holder: Any, name: str, rng: Rng) -> str:
    values: list[Any] = [7, -1.5, "x", "", np.zeros(0), np.full(3, np.nan), np.arange(4), ["a", "b"], 1 << 40]
    value = values[int(rng.integers(len(values)))]
    del holder[name]
    holder[name] = value
    return f"became {value!r}"


def _resized(opened: Any, name: str, node: Any, rng: Rng) -> str:
    values = node[...]
    kept = dict(node.attrs)
    way = int(rng.integers(5))
    if way == 0:
        values = values[: max(len(values) // 2, 0)]
    elif way == 1:
        values = np.concatenate([values, values])
    elif way == 2:
        values = values[None]
    elif way == 3 and values.dtype.kind in "iuf":
        values = (values.astype(float) * (np.nan if rng.random() < 0.5 else -1e300)).astype(values.dtype)
    elif values.dtype.kind in "iuf":
        values = values.astype(complex)
    del opened[name]
    opened[name] = values
    for key, value in kept.items():
        opened[name].attrs[key] = value
    return f"values changed (way {way})"
