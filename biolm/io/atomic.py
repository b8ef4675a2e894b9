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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from biolm.errors import OutputError

__all__ = [
    "alone",
    "check_free_space",
    "claiming",
    "discard",
    "install",
    "owning",
    "refuse_existing",
    "remove",
    "replacing",
    "tidy",
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
    """Check that an output may be written, before any work is done.

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
    if target.exists() and not overwrite:
        raise OutputError(
            f"{target} exists already; choose another name or allow it to be overwritten (`overwrite=True`)"
        )


def check_free_space(target: Path, needed: int) -> None:
    """Refuse a job whose output cannot fit, before hours are spent on it.

    Parameters
    ----------
    target
        Where the output will lie.
    needed
        Bytes that it takes, about.

    Raises
    ------
    OutputError
        If the disk has less room.
    """
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise OutputError(
            f"{target} needs about {_size(needed)} but only {_size(free)} are free there; "
            "free some space or choose another place"
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
    """Rename a finished file or folder to its final name, replacing what was there."""
    if target.is_dir() and not target.is_symlink():
        # A folder cannot be renamed over a folder that holds something: step aside first.
        old = target.with_name(f".{target.name}.old-{_me()}")
        target.rename(old)
        finished.rename(target)
        shutil.rmtree(old)
    else:
        finished.replace(target)


def tidy(target: Path) -> None:
    """Put right what a process that was killed left beside ``target``.

    A folder that had stepped aside for its successor comes back where that never came; temporary files of
    processes of this machine that are gone are removed. Those of other machines, which may share the disk,
    are left alone.
    """
    pattern = re.compile(
        rf"\.(?:{re.escape(target.name)}\.old|{re.escape(target.stem)}\.partial)-{_node()}-(\d+)"
    )
    if not target.parent.is_dir():
        return
    for path in target.parent.iterdir():
        found = pattern.match(path.name)
        if found is None or _alive(int(found[1])):
            continue
        if ".old-" in path.name and not target.exists():
            path.rename(target)
        else:
            remove(path)


def discard(folder: Path, target: Path) -> None:
    """Remove a working folder of ``target``: gone at once, and what a kill leaves goes by :func:`tidy`."""
    trash = target.with_name(f".{target.stem}.partial-{_me()}{target.suffix}")
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return
    remove(trash)


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
    block ends, and removed when the block fails.

    Raises
    ------
    OutputError
        If the output exists already, or cannot be written.

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
    tidy(target)
    refuse_existing(target, overwrite=overwrite)
    temporary = target.with_name(f".{target.stem}.partial-{_me()}{target.suffix}")
    try:
        with writing(target):
            yield temporary
            install(temporary, target)
    except BaseException as error:
        remove(temporary)
        _name_target(error, temporary, target)
        raise


def _name_target(error: BaseException, temporary: Path, target: Path) -> None:
    """Let an error speak of the output that the user named; what it was written to first is gone."""
    error.args = tuple(
        each.replace(str(temporary), str(target)) if isinstance(each, str) else each for each in error.args
    )
    if isinstance(error, OSError):
        for name in ("filename", "filename2"):
            held = getattr(error, name)
            if isinstance(held, str | Path):
                setattr(error, name, str(held).replace(str(temporary), str(target)))


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Let one process at a time make ``target``; others that ask for it wait.

    The lock is a file beside it, which the system frees when its process ends, however it ends.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    with lock.open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            # No locks on this system or disk: the work is done twice then, and appears whole all the same.
            pass
        yield
    lock.unlink(missing_ok=True)


@contextmanager
def claiming(target: Path) -> Iterator[None]:
    """Let no other process work in the folder ``target`` meanwhile.

    As :func:`alone`, but the lock is of this process and not of those that it forks, and nobody waits.

    Raises
    ------
    OutputError
        If another process works there.
    """
    target = target.resolve()
    with ExitStack() as held:
        try:
            import fcntl

            target.parent.mkdir(parents=True, exist_ok=True)
            lock = target.parent / f".{target.name}.lock"
            file = held.enter_context(lock.open("w"))
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.callback(lock.unlink, missing_ok=True)
        except BlockingIOError as error:
            raise OutputError(
                f"another process works in {target}; wait for it, or choose another folder"
            ) from error
        except (ImportError, OSError):
            pass  # no locks on this system or disk, or no leave to write beside the folder
        yield


@contextmanager
def owning(folder: Path) -> Iterator[bool]:
    """Make a folder, or take over one that is there; no other process works in it meanwhile.

    The lock is on the folder itself, so nothing lies beside it and the system frees it when the process ends,
    however it ends.

    Parameters
    ----------
    folder
        Where the work is done; its parent exists.

    Yields
    ------
    Whether the folder was there already.

    Raises
    ------
    OutputError
        If another process works there.
    """
    with ExitStack() as held:
        while True:
            found = folder.is_dir()
            folder.mkdir(exist_ok=True)
            number = os.open(folder, os.O_RDONLY)
            release = held.enter_context(ExitStack())
            release.callback(os.close, number)
            try:
                import fcntl

                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(
                    f"another process works in {folder}; wait for it, or choose another output"
                ) from error
            except (ImportError, OSError):
                pass  # no locks on this system or disk
            with suppress(FileNotFoundError):
                if os.path.samestat(folder.stat(), os.fstat(number)):
                    break
            # Between the two calls its owner finished and removed it: make it anew.
            release.close()
        yield found


def _errno(error: OSError) -> int | None:
    """Number of a system error; HDF5 hides it in its text."""
    if error.errno is not None:
        return error.errno
    hidden = re.search(r"errno = (\d+)", str(error))
    return int(hidden.group(1)) if hidden else None


def _size(count: int) -> str:
    """Bytes as people write them."""
    for unit, step in (("GB", 10**9), ("MB", 10**6)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count / 1000:.1f} kB"
