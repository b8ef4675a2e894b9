"""Progress of a long job: how far, how fast, how long still."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["log", "progress", "speaks"]

# Tasks report through this logger; the command line prints it on stderr.
log = logging.getLogger("biolm")

EVERY = 60.0
"""Seconds between lines where no bar can be drawn."""


def speaks() -> bool:
    """Whether tasks are to report: not with ``--quiet``, and of several processes only the first."""
    return log.isEnabledFor(logging.INFO)


@contextmanager
def progress(
    label: str, total: int | None, *, start: int = 0, show: bool = True, unit: str = "cells"
) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with cells per second and the time left; in a log, a line now and then.

    Nothing is shown when ``show`` is off. Colour follows ``NO_COLOR``.

    Parameters
    ----------
    label
        What is being done.
    total, start
        Cells in all (None if nobody knows), and those done by an earlier run.
    unit
        What is counted, where it is not cells.

    Yields
    ------
    A function to call with the number of cells just done.

    Examples
    --------
    >>> with progress("embedding", 10, show=False) as advance:
    ...     advance(10)
    """
    if not show:
        yield lambda count: None  # noqa: ARG005  # the name is part of the contract
        return
    # A bar in a log file would be thousands of lines.
    if not sys.stderr.isatty():
        yield _Lines(label, total, start, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    class Speed(TextColumn):
        def __init__(self) -> None:
            super().__init__("")

        def render(self, task):  # type: ignore[no-untyped-def]  # rich's own signature
            self.text_format = f"{_rate(task.speed)} {unit}/s" if task.speed else ""
            return super().render(task)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}" + ("" if total is None else f"/{total:,}")),
        Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task: TaskID = bar.add_task(label, total=total, completed=start)
        yield lambda count: bar.advance(task, count)


class _Lines:
    """Stands in for the bar where none can be drawn, such as in the log of a cluster."""

    def __init__(self, label: str, total: int | None, start: int, unit: str) -> None:
        self.label, self.total, self.start, self.unit = label, total, start, unit
        self.done = start
        self.since = self.last = time.monotonic()

    def __call__(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last < EVERY:
            return
        self.last = now
        # Without what an earlier run did, which took no time of this one.
        speed = (self.done - self.start) / (now - self.since)
        whole, left = "", ""
        if self.total is not None:
            whole = f" of {self.total:,}"
            left = f", {_time((self.total - self.done) / speed)} left" if speed else ""
        pace = f"{_rate(speed)} {self.unit}/s"
        log.info("%s: %s%s %s, %s%s", self.label, f"{self.done:,}", whole, self.unit, pace, left)


def _rate(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"


def _time(seconds: float) -> str:
    """Words for a span of time.

    Examples
    --------
    >>> _time(80), _time(1000), _time(86400)
    ('80 s', '17 min', '24.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
