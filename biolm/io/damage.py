"""One sentence for whatever a library says about content that it cannot make sense of."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, Protocol, TypeVar, cast

from biolm.errors import BiolmError, InputError

__all__ = ["closed_on_failure", "damage_named", "each_named", "naming_damage", "reason_of"]

Item = TypeVar("Item")
Reader = TypeVar("Reader", bound=Callable[..., Any])


class Closing(Protocol):
    """An open file, image or table."""

    def close(self) -> None:
        """Close it."""
        ...


# What the machine says, not the file.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.EINTR}

# What Python says of its own objects, which tells a user nothing.
_OF_PYTHON = re.compile(r"object|indices|argument|iterable|subscript|NoneType|operand|not .*'|out of range")


def reason_of(error: Exception) -> str:
    """What an error says about content, without the words of the language that raised it.

    Examples
    --------
    >>> reason_of(KeyError("data"))
    "it lacks 'data'"
    >>> reason_of(TypeError("list indices must be integers or slices, not str"))
    'a value is of another kind than expected'
    """
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8 text at byte {error.start}"
    reason = (str(error).strip().splitlines() or [""])[0][:200]
    if isinstance(error, TypeError | AttributeError | IndexError) and (
        not reason or _OF_PYTHON.search(reason)
    ):
        return "a value is of another kind than expected"
    return reason or "no reason is given"


@contextmanager
def naming_damage(
    name: object, what: str = "it", kind: type[BiolmError] = InputError, advice: str = "copy it again"
) -> Iterator[None]:
    """Raise one sentence that names the file, in place of any error of a decoder.

    Libraries fail on damaged bytes with almost every kind of error there is, so all are taken; what biolm
    says itself passes, and so does what the machine says (a full disk, no leave to read).

    Parameters
    ----------
    name
        The file.
    what
        What of it is being read.
    kind
        What is raised.
    advice
        What the user is to do.

    Raises
    ------
    BiolmError
        Of the kind.

    Examples
    --------
    >>> with naming_damage("cells.h5ad", "the table"):
    ...     {}["obs"]
    Traceback (most recent call last):
    biolm.errors.InputError: cells.h5ad is damaged: the table cannot be read (it lacks 'obs'); copy it again
    """
    try:
        yield
    except (BiolmError, ImportError):
        raise
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        raise kind(
            f"{name}: {what} asks for more memory than there is{reason}; if the file is not that large it is "
            f"damaged, so {advice}, or use a machine with more memory"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _MACHINE:
            raise
        raise kind(f"{name} is damaged: {what} cannot be read ({reason_of(error)}); {advice}") from error


@contextmanager
def closed_on_failure(opened: Closing) -> Iterator[None]:
    """Close what was opened if the rest of the opening fails; whoever gets it closes it otherwise."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


def each_named(
    items: Iterator[Item],
    name: object,
    what: str = "it",
    kind: type[BiolmError] = InputError,
    advice: str = "copy it again",
) -> Iterator[Item]:
    """The same items; a failure to make the next one is named as by :func:`naming_damage`.

    Parameters
    ----------
    items
        Made one by one from a file.
    name, what, kind, advice
        As for :func:`naming_damage`.
    """
    while True:
        with naming_damage(name, what, kind, advice):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def damage_named(
    what: str = "it", kind: type[BiolmError] = InputError, advice: str = "copy it again"
) -> Callable[[Reader], Reader]:
    """Decorator of a reader whose first argument is the file: its failures are as by :func:`naming_damage`.

    Parameters
    ----------
    what, kind, advice
        As for :func:`naming_damage`.

    Examples
    --------
    >>> @damage_named("the table")
    ... def first(path):
    ...     return {}["obs"]
    >>> first("cells.h5ad")
    Traceback (most recent call last):
    biolm.errors.InputError: cells.h5ad is damaged: the table cannot be read (it lacks 'obs'); copy it again
    """

    def decorated(read: Reader) -> Reader:
        @wraps(read)
        def named(path: Any, *given: Any, **options: Any) -> Any:
            with naming_damage(path, what, kind, advice):
                return read(path, *given, **options)

        @wraps(read)
        def each(path: Any, *given: Any, **options: Any) -> Iterator[Any]:
            return each_named(read(path, *given, **options), path, what, kind, advice)

        return cast(Reader, each if isgeneratorfunction(read) else named)

    return decorated
