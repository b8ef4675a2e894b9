"""Counts and places are joined by name, and the fraction that finds a partner is reported.

Dimensions: ``m`` rows of the count table · ``p`` rows of the table of places · ``n`` rows in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.frame import decoded

__all__ = ["LEAST_MATCHED", "as_text", "join_names"]

LEAST_MATCHED = 0.9
"""Fraction of the count table's rows that must have a place."""


def join_names(
    counts: NDArray[np.str_], places: NDArray[np.str_], name: str, *, allow_unmatched: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Rows of both tables that carry the same name, in the order of the counts.

    Parameters
    ----------
    counts, places
        ``(m,)`` and ``(p,)`` names.
    name
        Names the section in errors.
    allow_unmatched
        Accept that fewer than 90 % of the counts have a place.

    Returns
    -------
    ``(n,)`` rows of the counts, ``(n,)`` rows of the places, and the fraction ``n / m``.

    Raises
    ------
    InputError
        If a name repeats, or too few have a place.

    Examples
    --------
    >>> rows, places, fraction = join_names(np.array(["b", "a"]), np.array(["a", "b", "c"]), "section")
    >>> rows.tolist(), places.tolist(), fraction
    ([0, 1], [1, 0], 1.0)
    """
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    for what, values in (("counts", np.sort(counts)), ("places", ordered)):
        # An id that repeats would be joined to the wrong place without an error.
        if (values[1:] == values[:-1]).any():
            raise InputError(f"{name}: ids repeat in the table of {what}; give every spot or cell one id")
    # A name behind the last would be looked up beyond the end.
    at = np.minimum(np.searchsorted(ordered, counts), max(len(ordered) - 1, 0))
    rows = np.flatnonzero(ordered[at] == counts) if len(ordered) else np.empty(0, np.int64)
    place = order[at] if len(ordered) else at
    fraction = len(rows) / max(len(counts), 1)
    if fraction < LEAST_MATCHED and not allow_unmatched:
        raise InputError(
            f"{name}: only {len(rows):,} of {len(counts):,} ids of the counts ({fraction:.0%}) are in the "
            f"table of places; check that both are of one run (first ids: {counts[0]} and {places[0]})"
            + ("" if not len(rows) else ", or go on with those that match (`allow_unmatched=True`)")
        )
    return rows, place[rows], fraction


def as_text(values: NDArray[Any]) -> NDArray[np.str_]:
    """Ids as text, whatever the file has: bytes, text or numbers, never rounded.

    Examples
    --------
    >>> as_text(np.array([b"cell-1", "cell-2"], dtype=object)).tolist()
    ['cell-1', 'cell-2']
    """
    return np.array(
        [decoded(value) if isinstance(value, bytes) else str(value) for value in values.tolist()], np.str_
    )
