"""What a command says on stderr: reports of tasks, one sentence for a failure; options as they are typed."""

from __future__ import annotations

import dataclasses
import errno
import logging
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from biolm.cli.last_word import SIGPIPE, reader_left
from biolm.errors import BiolmError, ConfigError
from biolm.options import options_of, spelled

__all__ = ["messages", "spelling", "status"]


def spelling(arguments: type[Any]) -> Callable[[str, str | None], str | None]:
    """How options in messages of a command are written on the command line."""
    options = options_of(arguments)
    flags = {name: option.flags[0] for name, option in options.items() if option.flags}
    names = {option.python: name for name, option in options.items() if option.python}
    fields = {field.name for field in dataclasses.fields(arguments)}

    def spell(name: str, value: str | None) -> str | None:
        name = names.get(name, name)
        if name not in fields and value is None:
            return None
        flag = flags.get(name, "--" + name.replace("_", "-")).split("/")[0]
        if value in (None, "True"):
            return flag
        return f"--no-{flag[2:]}" if value == "False" else f"{flag} {shlex.quote(value)}"

    return spell


def status(run: Callable[[], None], arguments: type[Any], *, debug: bool) -> int:
    """Run a command; its exit status, after one sentence on stderr where it failed.

    Parameters
    ----------
    run
        The command, with its arguments.
    arguments
        Dataclass of its options, by which messages spell them.
    debug
        Show the traceback in place of the sentence.
    """
    try:
        if not debug:
            # Warnings of libraries are for their developers, not for the user of a command.
            warnings.simplefilter("ignore")
        run()
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130
    except Exception as error:
        # As in `biolm models | head -1`: no failure, and no sentence.
        if isinstance(error, BrokenPipeError) and reader_left():
            return SIGPIPE
        if debug:
            traceback.print_exc()
        else:
            _tell(f"Error: {spelled(_sentence(error), spelling(arguments))}")
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _tell(sentence: str) -> None:
    """Print on stderr; where nothing more goes there, the exit status alone says it."""
    with suppress(OSError, ValueError):
        sys.stderr.write(sentence + "\n")
        sys.stderr.flush()


def _sentence(error: Exception) -> str:
    """What to tell the user about a failure, in one line."""
    if isinstance(error, BiolmError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "not enough memory; use a machine with more, or a smaller `batch_tokens`"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
        return "no space left for the standard output or temporary files; free some space"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {text} (--debug shows where; please report it)"


@contextmanager
def messages(arguments: type[Any], *, quiet: bool) -> Iterator[None]:
    """Print what tasks report on stderr, for the time of one command.

    Parameters
    ----------
    arguments
        Dataclass of its options, by which messages spell them.
    quiet
        Only what ends the command.
    """
    logger = logging.getLogger("biolm")
    handler = _ToStderr()
    handler.setFormatter(_Format(arguments))
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    # A user's own logging set-up would print every line a second time.
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True


class _ToStderr(logging.Handler):
    """Write to what stderr is at that moment: a bar that is drawn there moves out of the way."""

    def emit(self, record: logging.LogRecord) -> None:
        _tell(self.format(record))


class _Format(logging.Formatter):
    """The message alone, options as the command line writes them; warnings are marked."""

    def __init__(self, arguments: type[Any]) -> None:
        super().__init__()
        self._spell = spelling(arguments)

    def format(self, record: logging.LogRecord) -> str:
        mark = "Warning: " if record.levelno >= logging.WARNING else ""
        return mark + spelled(record.getMessage(), self._spell)
