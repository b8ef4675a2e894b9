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


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the user wants to stop, and how it then ends.

    Attributes
    ----------
    asked
        Whether a signal has come to this process.
    """

    def __init__(self) -> None:
        self.asked = False
        self._signal = 0

    def listen(self) -> None:
        """Take the signals, also from others who took them since; nothing happens outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self.hear)

    def hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler's signature
        """Note the first signal; the second of a kind stops at once."""
        if self.asked and number == self._signal:
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
            After the signal to terminate, with the status that a shell gives it; with 0 in a process that
            heard none and ends with the others.
        """
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self._signal if self._signal else 0)


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
