"""Outputs appear whole or not at all.

Everything is written under a temporary name in the folder of the target and renamed when it is
complete, so that a reader never meets half a file and a failure leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from glob import escape
from pathlib import Path

from biolm.errors import OutputError
from biolm.io.locks import claiming, free
from biolm.io.system import exchange, to_disk

__all__ = [
    "discard",
    "install",
    "install_all",
    "refuse_existing",
    "remove",
    "replacing",
    "replacing_all",
    "replacing_folder",
    "tidy",
    "working_folder",
    "writing",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def remove(path: Path) -> None:
    """Delete a file or folder; nothing happens if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Check that an output may be written, before any work is done; see also :func:`tidy`.

    Parameters
    ----------
    target
        The output.
    overwrite
        Whether it may be replaced.

    Raises
    ------
    OutputError
        If it exists and ``overwrite`` is not set, or its folder does not exist or is not writable.
    """
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"folder {folder} for the output does not exist; create it or choose another place")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"folder {folder} for the output is not writable; choose another place")
    tidy(target)
    if target.exists() and not overwrite:
        raise OutputError(
            f"{target} exists already; choose another name or allow it to be overwritten (`overwrite=True`)"
        )


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn a full disk into one sentence about ``target``; other errors pass.

    Raises
    ------
    OutputError
        In place of the ``OSError`` of a full disk, quota or file-size limit.
    """
    try:
        yield
    except OSError as error:
        if _errno(error) not in _FULL:
            raise
        raise OutputError(
            f"no space left on the disk while writing {target}; free some space or choose another place"
        ) from error


def install(finished: Path, target: Path) -> None:
    """Give a finished file or folder its final name, in place of what was there.

    Files beside it that have its name with another ending added get theirs with it: all of them, or after a
    kill in between by the next :func:`tidy`.

    Parameters
    ----------
    finished
        File or folder that is whole.
    target
        Its final name.
    """
    beside = sorted(finished.parent.glob(f"{escape(finished.name)}.*"))
    if not beside:
        _name(finished, target)
        return
    folder = _partial(target, ".all")
    folder.mkdir()
    for path in (finished, *beside):
        path.rename(folder / (target.name + path.name.removeprefix(finished.name)))
    install_all(folder, target)


def install_all(folder: Path, target: Path) -> None:
    """Give all that a folder holds its names beside ``target``, which is among it and comes last.

    The folder is first renamed to say that it is complete, so that :func:`tidy` can go on after a kill.

    Parameters
    ----------
    folder
        With files that are whole.
    target
        The last of them to get its name.
    """
    ready = target.with_name(f".{target.name}.ready-{_me()}")
    folder.rename(ready)
    _hand_out(ready, target)


def _hand_out(ready: Path, target: Path) -> None:
    main = ready / target.name
    others = [path for path in sorted(ready.iterdir()) if path != main]
    if others and main.exists():
        # What is there of the target is complete at any moment: an old one does not stand beside new files.
        remove(target)
    for path in others:
        _name(path, target.with_name(path.name))
    if main.exists():
        _name(main, target)
    ready.rmdir()


def _name(finished: Path, target: Path) -> None:
    # Before the name: after a power cut a name on an empty file would pass for a result.
    to_disk(finished)
    if not os.path.lexists(target) or not (target.is_dir() or finished.is_dir()):
        finished.replace(target)
    elif exchange(finished, target):
        remove(finished)
    else:
        # A folder cannot be renamed over a folder that holds something: step aside first.
        old = target.with_name(f".{target.name}.old-{_me()}")
        target.rename(old)
        finished.rename(target)
        remove(old)


def tidy(target: Path) -> None:
    """Put right what a process that was killed left beside ``target``.

    What was complete gets its name, and a folder that had stepped aside for its successor comes back where
    that never came. Temporary files of processes of this machine that are gone are removed; those of other
    machines, which may share the disk, are left alone.
    """
    pattern = re.compile(
        rf"\.(?:{re.escape(target.name)}\.(old|ready)|{re.escape(target.stem)}\.partial)-{_node()}-(\d+)"
    )
    if not target.parent.is_dir():
        return
    free(target)
    for path in sorted(target.parent.iterdir()):
        match = pattern.match(path.name)
        if match is None or _alive(int(match[2])):
            continue
        if match[1] == "ready":
            _hand_out(path, target)
        elif match[1] == "old" and not target.exists():
            path.rename(target)
        else:
            remove(path)


def discard(folder: Path, target: Path) -> None:
    """Remove a working folder of ``target``: gone at once, and what a kill leaves goes by :func:`tidy`.

    Parameters
    ----------
    folder
        To remove.
    target
        Whose working folder it is.
    """
    trash = _partial(target)
    try:
        # One rename first: a removal that is killed halfway would leave half a folder under its old name.
        folder.rename(trash)
    except FileNotFoundError:
        return
    remove(trash)


def _partial(target: Path, more: str = "") -> Path:
    return target.with_name(f".{target.stem}.partial-{_me()}{target.suffix}{more}")


def _node() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node()) or "here"


def _me() -> str:
    """Names this process among those of all machines that may write beside it."""
    return f"{_node()}-{os.getpid()}"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and somebody else's
    return True


@contextmanager
def replacing(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a file or folder so that it appears whole or not at all.

    Parameters
    ----------
    target
        The final path.
    overwrite
        Whether an existing output may be replaced.

    Yields
    ------
    A path in the same folder, with the same suffix, to write to. It is renamed to ``target`` when the
    block ends, together with files that have its name and another ending added (``x.tsv.json``), and removed
    when the block fails.

    Raises
    ------
    OutputError
        If the output exists already, cannot be written, or another process writes it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder) / "hello.txt"
    ...     with replacing(target) as path:
    ...         _ = path.write_text("whole")
    ...     target.read_text()
    'whole'
    """
    with _replacing(target, _partial(target), overwrite=overwrite) as temporary:
        yield temporary
        for path in temporary.parent.glob(f"{escape(temporary.name)}*"):
            # Another program, or a process on another machine, may have made it meanwhile.
            final = target.name + path.name.removeprefix(temporary.name)
            refuse_existing(target.with_name(final), overwrite=overwrite)
        install(temporary, target)


@contextmanager
def replacing_all(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a file and others that belong to it, so that the file appears last and only with all of them.

    Parameters
    ----------
    target
        The file whose presence means that the others are there.
    overwrite
        Whether existing files may be replaced.

    Yields
    ------
    A folder to write all of them into, under their final names.

    Raises
    ------
    OutputError
        As :func:`replacing`.
    """
    with _replacing(target, _partial(target, ".all"), overwrite=overwrite) as folder:
        folder.mkdir()
        yield folder
        for path in folder.iterdir():
            refuse_existing(target.with_name(path.name), overwrite=overwrite)
        install_all(folder, target)


@contextmanager
def replacing_folder(folder: Path, last: str, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a folder of results, or add them to one that is there and holds other things.

    Parameters
    ----------
    folder
        Made with those above it.
    last
        The file whose presence means that the others are there.
    overwrite
        Whether existing files may be replaced.

    Yields
    ------
    A folder to write all of them into.

    Raises
    ------
    OutputError
        As :func:`replacing`.
    """
    if folder.is_dir():
        with replacing_all(folder / last, overwrite=overwrite) as new:
            yield new
        return
    if not folder.parent.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as new:
        new.mkdir()
        yield new


@contextmanager
def _replacing(target: Path, temporary: Path, *, overwrite: bool) -> Iterator[Path]:
    # Without the folder there is nothing to lock, and the next line says so.
    with claiming(target) if target.parent.is_dir() else nullcontext():
        refuse_existing(target, overwrite=overwrite)
        try:
            with writing(target):
                yield temporary
        except BaseException as error:
            for path in target.parent.glob(f"{escape(temporary.name)}*"):
                remove(path)
            final = target.parent if temporary.suffix == ".all" else target
            _name_target(error, temporary, final)
            raise


@contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` for what it is made of; removed at the end, after a kill by :func:`tidy`.

    Raises
    ------
    OutputError
        If another process writes ``target``.
    """
    with claiming(target):
        folder = _partial(target, ".work")
        folder.mkdir()
        try:
            yield folder
        finally:
            remove(folder)


def _name_target(error: BaseException, temporary: Path, target: Path) -> None:
    """Let an error speak of the output that the user named; what it was written to first is gone."""
    error.args = tuple(
        each.replace(str(temporary), str(target)) if isinstance(each, str) else each for each in error.args
    )
    if isinstance(error, OSError):
        for name in ("filename", "filename2"):
            name_given = getattr(error, name)
            if isinstance(name_given, str | Path):
                setattr(error, name, str(name_given).replace(str(temporary), str(target)))


def _errno(error: OSError) -> int | None:
    """Number of a system error; HDF5 hides it in its text."""
    if error.errno is not None:
        return error.errno
    hidden = re.search(r"errno = (\d+)", str(error))
    return int(hidden.group(1)) if hidden else None
