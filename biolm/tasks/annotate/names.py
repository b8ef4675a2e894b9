"""The name of what an annotator does not name, kept apart from the classes."""

from __future__ import annotations

from collections.abc import Iterable

from biolm.errors import InputError

__all__ = ["UNKNOWN", "refuse_unknown"]

UNKNOWN = "unknown"
"""What a cell or sequence is called that gets no class."""


def refuse_unknown(classes: Iterable[str], where: str) -> None:
    """Refuse a class that has the name of the verdict.

    Parameters
    ----------
    classes
        Names.
    where
        Names their column in messages.

    Raises
    ------
    InputError
        If one of the classes is called ``unknown``.

    Examples
    --------
    >>> refuse_unknown(["B", "unknown"], "label 'kind'")
    Traceback (most recent call last):
    biolm.errors.InputError: label 'kind' has a class called 'unknown', the name of what gets no class; \
leave it out (`leave_out` unknown) or rename it
    """
    if UNKNOWN in classes:
        raise InputError(
            f"{where} has a class called '{UNKNOWN}', the name of what gets no class; leave it out "
            f"(`leave_out` {UNKNOWN}) or rename it"
        )
