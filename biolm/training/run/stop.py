"""Ctrl-C, and a scheduler that ends a job: the step that runs is finished and saved first."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stopping"]

log = logging.getLogger("biolm")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# A scheduler may signal torchrun and its processes, and torchrun passes its own signal on: that is one wish.
_ONE_WISH = 1.0


class Stop:
    """Whether the user wants to stop, and how it then ends.

    Attributes
    ----------
    asked
        Number of the signal that has come to this process; 0 for none.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._since = 0.0

    def listen(self) -> None:
        """Take the signals, also from others who took them since; nothing happens outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self.hear)

    def hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler's signature
        """Note the first signal; the second of a kind stops at once.

        Parameters
        ----------
        number
            Of the signal.
        frame
            Not used; a handler's signature.
        """
        if number != self.asked:
            log.info("stopping after this step; once more to stop at once")
            self.asked, self._since = number, time.monotonic()
        elif time.monotonic() > self._since + _ONE_WISH:
            self.now(number)

    @staticmethod
    def now(number: int) -> None:
        """End as a signal would have.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C.
        SystemExit
            After the signal to terminate, with the status that a shell gives it; with 0 after none, in a
            process that ends with others.
        """
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        # As a shell reports a process that a signal has ended.
        raise SystemExit(128 + number if number else 0)


@contextmanager
def stopping() -> Iterator[Stop]:
    """Hear Ctrl-C and the signal to terminate for a while; a run outside the main thread hears none."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    stop.listen()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
