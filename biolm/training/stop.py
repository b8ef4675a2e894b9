"""Ctrl-C, and a scheduler that ends a job: the step that runs is finished and saved first."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stopping"]

log = logging.getLogger("biolm")


class Stop:
    """Whether the user wants to stop, and how it then ends.

    Attributes
    ----------
    asked
        Whether a signal has come.
    """

    def __init__(self) -> None:
        self.asked = False
        self._signal = 0

    def hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler's signature
        """Note the first signal; the second stops at once."""
        if self.asked:
            self.now()
        self.asked, self._signal = True, number
        log.info("stopping after this step; once more to stop at once")

    def now(self) -> None:
        """End as the signal would have.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C.
        SystemExit
            After the signal to terminate, with the status that a shell gives it.
        """
        if self._signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt


@contextmanager
def stopping(*, alone: bool) -> Iterator[Stop]:
    """Hear Ctrl-C and the signal to terminate for a while.

    Several processes would hear them in different steps and wait for each other for ever: with ``alone`` off
    they stop at once, as without this. So does a run that is not in the main thread.
    """
    stop = Stop()
    if not alone or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop.hear) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
