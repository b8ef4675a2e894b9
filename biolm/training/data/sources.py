"""From what the user names to files: folders, globs and lists are spelled out, in a fixed order."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from biolm.errors import InputError
from biolm.io.sequences import holds_store, named_as_sequences
from biolm.io.store import store_kind
from biolm.io.token_store import is_token_store
from biolm.progress import log

__all__ = ["expand", "holds_sequences", "holds_tokens"]

_TOKENS = (".parquet", ".arrow", ".feather")
_CELLS = (".h5ad", ".zarr", ".loom", ".h5")


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """Every file, each once, in the order named; those of a folder or glob by name.

    A file that is there by several names (symbolic and hard links) is one file, by the first of them: else
    its examples would count several times and lie on both sides of a split.

    Parameters
    ----------
    paths
        Files, folders, globs, or ``.txt`` files that list paths, one a line, relative to themselves.

    Raises
    ------
    InputError
        If one names nothing.
    """
    first: dict[tuple[int, int], Path] = {}
    for path in dict.fromkeys(_expand(paths, ())):
        # By inode: links to one file would be read, and held out, as two.
        state = path.stat()
        known = first.setdefault((state.st_dev, state.st_ino), path)
        if known != path:
            log.warning("%s is %s by another name and is read once", path, known)
    return list(first.values())


def _expand(paths: Iterable[str | Path], lists: tuple[Path, ...]) -> list[Path]:
    """Files, of lists too; ``lists`` are those that are being read."""
    files: list[Path] = []
    for name in paths:
        path = Path(name).expanduser()
        some = _expand_one(path, lists)
        if not some:
            inside = path.is_dir() and any(item.is_dir() for item in path.iterdir())
            advice = f"for its folders give {path}/**/*.h5ad" if inside else "check the path"
            raise InputError(f"{name} names no file of cells, sequences or tokens; {advice}")
        files.extend(some)
    return files


def _expand_one(path: Path, lists: tuple[Path, ...]) -> list[Path]:
    if path.is_file() and path.suffix == ".txt":
        if path.resolve() in lists:
            raise InputError(f"the list {path} names itself; take that line out")
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is no UTF-8 list of paths") from error
        named = (path.parent / line for line in lines if line and not line.startswith("#"))
        return _expand(named, (*lists, path.resolve()))
    if (
        path.is_dir()
        and path.suffix != ".zarr"
        and store_kind(path) is None
        # Such a folder is one table of 10x, not one of several files.
        and not any(path.glob("matrix.mtx*"))
    ):
        known = (*_TOKENS, *_CELLS)
        return sorted(
            item
            for item in path.iterdir()
            if not item.name.startswith(".")
            and (item.suffix in known or holds_sequences(item) or store_kind(item) is not None)
        )
    if path.exists():
        return [path]
    return sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207  # the pattern may be absolute


def holds_sequences(path: Path) -> bool:
    """Whether a path is a sequence file by its name, or a store of sequences."""
    return named_as_sequences(path) or holds_store(path)


def holds_tokens(path: Path) -> bool:
    """Whether tokens are stored there; a zarr folder or a store may hold other things."""
    if path.suffix in _TOKENS or is_token_store(path):
        return True
    if path.suffix != ".zarr":
        return False
    from biolm.io.tokens import token_metadata

    try:
        token_metadata(path)
    except InputError:
        return False
    return True
