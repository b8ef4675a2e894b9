"""One process at a time: locks that the system frees when a process ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from biolm.errors import OutputError

__all__ = ["alone", "claiming", "free", "owning"]

# Locks of this process; the system gives one up when any file of that name is closed, so none is opened anew.
_held: set[Path] = set()


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Let one process at a time make ``target``; others that ask for it wait.

    The lock is a file beside it, removed at the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        # No locks on this system or disk: the work is done twice then, and appears whole all the same.
        with suppress(ImportError, OSError):
            _lock(target.with_name(f".{target.name}.making"), locks, wait=True)
        yield


@contextmanager
def claiming(target: Path) -> Iterator[None]:
    """Let no other process write the file or folder ``target`` meanwhile.

    As :func:`alone`, but nobody waits. Where no lock can be had, on some disks or in a folder that belongs to
    others, there is none.

    Raises
    ------
    OutputError
        If another process writes it.
    """
    target = target.resolve()
    with ExitStack() as locks:
        try:
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
            _lock(target.with_name(f".{target.name}.lock"), locks, wait=False)
        except BlockingIOError as error:
            raise OutputError(
                f"another process works in {target}; wait for it, or choose another output"
            ) from error
        except (ImportError, OSError):
            pass
        yield


def free(target: Path) -> None:
    """Remove the lock of a process that was killed while it wrote ``target``."""
    lock = target.resolve().with_name(f".{target.name}.lock")
    if lock.exists():
        with ExitStack() as locks, suppress(ImportError, OSError):
            _lock(lock, locks, wait=False)


def _lock(lock: Path, locks: ExitStack, *, wait: bool) -> None:
    """Lock a file, which is removed when ``locks`` closes.

    The lock is of this process and not of those that it forks, which may outlive it.
    """
    import fcntl

    if lock in _held:
        return
    while True:
        release = locks.enter_context(ExitStack())
        file = release.enter_context(lock.open("w"))
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        with suppress(FileNotFoundError):
            if os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                release.callback(lock.unlink, missing_ok=True)
                _held.add(lock)
                release.callback(_held.discard, lock)
                return
        # Between the two calls its owner finished and removed it: make it anew.
        release.close()


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
    with ExitStack() as locks:
        while True:
            existed = folder.is_dir()
            folder.mkdir(exist_ok=True)
            number = os.open(folder, os.O_RDONLY)
            release = locks.enter_context(ExitStack())
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
        yield existed
