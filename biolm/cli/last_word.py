"""A signal that ends the process even where a library never comes back to Python.

Python runs its handlers between its own instructions, so a decoder that loops over damaged bytes is deaf to
them. Here a second process, forked before anything heavy is imported, hears of the signal through a pipe that
the system's part of Python writes to at once, and ends the first one where it has not left by itself in time.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable

__all__ = ["GRACE", "SIGPIPE", "leave_for_sure", "reader_left"]

SIGPIPE = 141
"""Exit status of a program whose output nobody reads on, as in ``biolm models | head -1``."""

GRACE = 10.0
"""Seconds that a process is given to leave tidily after TERM."""


def leave_for_sure(grace: float = GRACE) -> Callable[[], None]:
    """Leave tidily on SIGTERM, and for sure: killed after ``grace`` seconds if still there.

    To be called by the main thread before anything heavy is imported, since the process is forked.

    Returns
    -------
    A function that ends the watch.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not hasattr(os, "fork"):
        return lambda: None
    heard, write_end = os.pipe()
    watched = os.getpid()
    watcher = os.fork()
    if watcher == 0:
        os.close(write_end)
        _watch(heard, watched, grace)
        os._exit(0)
    os.close(heard)
    # A full pipe must never hold up the handler.
    os.set_blocking(write_end, False)
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    def end() -> None:
        signal.set_wakeup_fd(before)
        os.close(write_end)
        os.kill(watcher, signal.SIGKILL)
        os.waitpid(watcher, 0)

    return end


def _watch(heard: int, watched: int, grace: float) -> None:
    """Wait for a signal of the watched process, or for its end, which closes the pipe."""
    os.setsid()  # an interrupt from the keyboard is for the other alone
    # A scheduler signals the whole group; this process must outlive that.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for number in (0, 1, 2):  # who reads what the other prints waits for the last process that has it open
        os.close(number)
    while byte := os.read(heard, 64):
        if signal.SIGTERM not in byte:
            continue
        end = time.monotonic() + grace
        while os.getppid() == watched and time.monotonic() < end:
            time.sleep(0.05)
        if os.getppid() == watched:
            os.kill(watched, signal.SIGKILL)
        return


def reader_left() -> bool:
    """Whether nobody reads the standard output any more; what Python still holds of it is then dropped."""
    try:
        number = sys.stdout.fileno()
        watch = select.poll()
        watch.register(number, 0)
        left = any(event & select.POLLERR for _, event in watch.poll(0))
    except (OSError, ValueError, AttributeError):
        return False
    if left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return left
