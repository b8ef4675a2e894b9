"""What the disk holds at every change of a file that a command makes: the states that a kill leaves.

A process that is killed leaves what it had written, and nothing of it runs any more. So the state before and
after each change is copied while the command runs once, and the command is given again on the copies: one run
shows all deaths. Names that hold the number of the process are given that of one that is gone.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

from biolm.io import atomic

CHANGES = {f"os.{name}" for name in ("rename", "mkdir", "remove", "rmdir", "truncate", "link", "symlink")}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

State = dict[str, bytes | None]
"""What a folder holds: bytes of a file by its path, None for a folder."""


def gone() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def read_state(folder: Path, known: dict[Any, bytes] | None = None) -> State:
    """Everything below a folder, as it is at this moment; what is ``known`` is not read again."""
    found: State = {}
    known = {} if known is None else known
    for top, folders, files in os.walk(folder):
        place = Path(top).relative_to(folder)
        found |= {str(place / name): None for name in folders}
        for name in files:
            with suppress(FileNotFoundError):  # another thread of the command took it away meanwhile
                path = folder / place / name
                state = path.stat()
                key = (state.st_ino, state.st_size, state.st_mtime_ns)
                if key not in known:
                    known[key] = path.read_bytes()
                found[str(place / name)] = known[key]
    return found


def write_state(state: State, folder: Path) -> None:
    """Make a folder hold exactly that."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, content in sorted(state.items()):
        if content is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


@dataclass
class Watch:
    """Copies of a folder, one for every moment at which a process in it could die.

    Parameters
    ----------
    folder
        What is watched.
    every
        Of changes of one kind, as a zarr store has hundreds of, copy the first and then one in so many.
    states, kinds
        Each state, and what was about to be done to which kind of name.
    """

    folder: Path
    every: int = 1
    seen: Counter[str] = field(default_factory=Counter)
    states: list[State] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    busy: bool = False
    known: dict[Any, bytes] = field(default_factory=dict)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Look at an event of the interpreter."""
        if self.busy:
            return
        writes = event == "open" and isinstance(args[2], int) and args[2] & WRITES
        if not (writes or event in CHANGES):
            return
        names = [os.fsdecode(each) for each in args[:2] if isinstance(each, str | bytes | os.PathLike)]
        if not any(name.startswith(str(self.folder)) for name in names):
            return
        self.take(f"{event} {' '.join(re.sub(r'[0-9]+', '#', Path(name).name) for name in names)}")

    def take(self, kind: str) -> None:
        """Copy the folder."""
        self.seen[kind] += 1
        if (self.seen[kind] - 1) % self.every:
            return
        self.busy = True
        try:
            self.states.append(read_state(self.folder, self.known))
            self.kinds.append(kind)
        finally:
            self.busy = False


_watching: list[Watch] = []
_hooked = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    for watch in _watching:
        watch(event, args)


@contextmanager
def watching(folder: Path, every: int = 1) -> Iterator[Watch]:
    """Copy the folder before every change of a file in it, and at the end.

    Parameters
    ----------
    folder, every
        As of :class:`Watch`.
    """
    global _hooked  # a hook stays for good
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    watch, dead, alive = Watch(folder, every), gone(), atomic._alive
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "_me", lambda: f"{atomic._node()}-{dead}")
        patch.setattr(atomic, "_alive", lambda process: process == dead or alive(process))
        _watching.append(watch)
        try:
            yield watch
        finally:
            _watching.remove(watch)
    watch.take("end")


def chosen(watch: Watch, most: int | None, draws: random.Random) -> list[int]:
    """Numbers of states that differ: all, or ``most`` of them with as many kinds of change as go into it."""
    first: dict[str, int] = {}
    for number, state in enumerate(watch.states):
        key = repr(sorted((name, content and hash(content)) for name, content in state.items()))
        first.setdefault(key, number)
    found = sorted(first.values())
    if most is None or len(found) <= most:
        return found
    by_kind: dict[str, list[int]] = {}
    for number in found:
        by_kind.setdefault(watch.kinds[number], []).append(number)
    one_each = [draws.choice(numbers) for numbers in by_kind.values()]
    rest = [number for number in found if number not in one_each]
    draws.shuffle(one_each)
    draws.shuffle(rest)
    return sorted([*one_each, *rest][:most])


@dataclass
class Writer:
    """A child that stopped in the middle; its exit status once it has gone on."""

    status: int | None = None


@contextmanager
def at_change(folder: Path, number: int, run: Callable[[], int]) -> Iterator[Writer]:
    """Run something in a child that stops before its ``number``-th change of a file in the folder.

    It goes on when the block ends, or has ended already where it makes fewer changes.
    """
    told, tell = os.pipe()
    wait, go = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        _stopping(Watch(folder), number, tell, wait, run)
    os.close(tell)
    os.read(told, 1)
    writer = Writer()
    try:
        yield writer
    finally:
        os.write(go, b".")
        writer.status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for each in (told, wait, go):
            os.close(each)


def _stopping(watch: Watch, number: int, tell: int, wait: int, run: Callable[[], int]) -> NoReturn:
    def stop(kind: str) -> None:
        watch.kinds.append(kind)
        if len(watch.kinds) == number:
            os.write(tell, b".")
            os.read(wait, 1)

    status = 99
    try:
        watch.take = stop  # type: ignore[method-assign]
        sys.addaudithook(watch)
        status = run()
    finally:
        os._exit(status)
