"""Progress of a long job: cells per second and time left, on a terminal only."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["log", "progress"]

# Tasks report through this logger; the command line prints it on stderr.
log = logging.getLogger("biolm")


@contextmanager
def progress(
    label: str, total: int, *, start: int = 0, show: bool = True, unit: str = "cells"
) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with cells per second and the time left.

    Nothing is drawn when ``show`` is off or stderr is not a terminal, so that logs stay clean. Colour
    follows ``NO_COLOR``.

    Parameters
    ----------
    label
        What is being done.
    total, start
        Cells in all, and those done by an earlier run.
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
    if not show or not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    class Speed(TextColumn):
        def __init__(self) -> None:
            super().__init__(f"{{task.speed:,.0f}} {unit}/s")

        def render(self, task):  # type: ignore[no-untyped-def]  # rich's own signature
            return super().render(task) if task.speed else ""

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task: TaskID = bar.add_task(label, total=total, completed=start)
        yield lambda count: bar.advance(task, count)


def _nothing(count: int) -> None:
    """Stand in for the bar where none is drawn."""
