"""Sets of cells for the report's interactive maps, packed small: a hundred thousand cells fit in a few MB.

Dimensions: ``n`` cells · ``m`` cells shown.

Coordinates are kept to 1/65,535 of the map's side, numbers to 1/65,534 of their range (whole numbers of a
smaller range exactly), categories as one byte. Where that is still too much, cells are drawn at random and
the page says so.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError

__all__ = ["PALETTE", "PALETTE_DARK", "SCALE", "CellMap", "View", "pack_maps"]

# Paul Tol's "muted" scheme and a dark grey: told apart under the common forms of colour blindness.
PALETTE = (
    "#332288", "#CC6677", "#117733", "#88CCEE", "#DDCC77",
    "#882255", "#44AA99", "#AA4499", "#999933", "#555555",
)  # fmt: skip
# The same hues, light enough for a dark page.
PALETTE_DARK = (
    "#9083E8", "#E07F90", "#3FB265", "#88CCEE", "#DDCC77",
    "#D0568F", "#44AA99", "#C86BC0", "#B5B54A", "#A9B0B8",
)  # fmt: skip
# Seven steps of viridis.
SCALE = ("#440154", "#443983", "#31688e", "#21918c", "#35b779", "#90d743", "#fde725")

# Bytes of the page for all maps; the rest of the page is small beside it.
ROOM = 8_000_000
MISSING = ("nan", "", "None", "<NA>")
_MOST_LEVELS = 255
_STEPS = 65_534


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture of a set of cells.

    Parameters
    ----------
    name, note
        Title, and a short remark beside it.
    coordinates
        ``(n, 2)``.
    """

    name: str
    coordinates: NDArray[np.floating[Any]]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMap:
    """A set of cells, pictured in one or more ways.

    Parameters
    ----------
    name
        Title of the set.
    cells
        ``(n,)`` names.
    views
        Pictures, shown side by side.
    columns
        Annotations ``(n,)`` each; text becomes a category, numbers a colour scale. A text column of more than
        255 values is left out of the page, which says so.
    colours
        Numbers in the palette for some categories, so that several sets can agree; the rest follow.
    """

    name: str
    cells: Sequence[str]
    views: Sequence[View]
    columns: Mapping[str, ArrayLike]
    colours: Mapping[str, int] = field(default_factory=dict)

    def slots(self, levels: Sequence[str]) -> list[int]:
        """Number in the palette of each category; the palette is used again when it ends."""
        free = (slot for slot in count() if slot not in {self.colours.get(level) for level in levels})
        return [self.colours[level] if level in self.colours else next(free) for level in levels]


def pack_maps(maps: Sequence[CellMap]) -> list[dict[str, Any]]:
    """The maps as JSON for the page, at most about :data:`ROOM` bytes in all.

    Raises
    ------
    InputError
        If a map has no cells or no view, or its columns differ in length.
    """
    for item in maps:
        _check(item)
    # Packed for all cells first: what one cell takes decides how many fit.
    kept = [_columns(item) for item in maps]
    needed = [_bytes(item, columns) for item, columns in zip(maps, kept, strict=True)]
    fraction = min(1.0, ROOM / max(sum(needed), 1))
    return [_dataset(item, columns, fraction) for item, columns in zip(maps, kept, strict=True)]


def _check(item: CellMap) -> None:
    if not len(item.cells) or not item.views:
        raise InputError(f"set {item.name!r} has no cells or no view to draw")
    lengths = {len(np.asarray(column)) for column in item.columns.values()}
    lengths |= {len(view.coordinates) for view in item.views}
    if lengths - {len(item.cells)}:
        raise InputError(
            f"set {item.name!r} has {len(item.cells)} cells but columns of {sorted(lengths)} rows"
        )


def _columns(item: CellMap) -> dict[str, dict[str, Any] | None]:
    """Every column packed for all cells; None for one with too many values."""
    return {name: _column(item, name, np.asarray(values)) for name, values in item.columns.items()}


def _column(item: CellMap, name: str, column: NDArray[Any]) -> dict[str, Any] | None:
    if column.dtype.kind in "iuf":
        return {"name": name, "levels": None, **_numbers(column.astype(np.float64))}
    text = column.astype(str)
    levels, codes = np.unique(text, return_inverse=True)
    known = ~np.isin(levels, MISSING)
    names = levels[known].tolist()
    if len(names) > _MOST_LEVELS:
        return None
    # A byte a cell: the last code stands for a missing value.
    place = np.where(known, np.cumsum(known) - 1, _MOST_LEVELS).astype(np.uint8)
    return {"name": name, "levels": names, "slots": item.slots(names), "values": place[codes]}


def _numbers(values: NDArray[np.float64]) -> dict[str, Any]:
    """Codes of two bytes: value = low + step * code; the last code stands for a missing value."""
    finite = np.isfinite(values)
    low, high = (float(end(values[finite])) for end in (np.min, np.max)) if finite.any() else (0.0, 0.0)
    whole = high - low <= _STEPS and not np.mod(values[finite], 1).any()
    step = 1.0 if whole else (high - low) / _STEPS
    codes = np.full(len(values), _STEPS + 1, np.uint16)
    codes[finite] = np.round((values[finite] - low) / (step or 1.0)).astype(np.uint16)
    return {"low": low, "step": step, "values": codes}


def _bytes(item: CellMap, columns: Mapping[str, dict[str, Any] | None]) -> int:
    """Size of a set on the page: base64 makes four characters of three bytes."""
    names = sum(len(str(cell).encode()) + 3 for cell in item.cells)
    packed = sum(column["values"].nbytes for column in columns.values() if column)
    return names + int(packed + 4 * len(item.cells) * len(item.views)) * 4 // 3


def _dataset(item: CellMap, columns: Mapping[str, dict[str, Any] | None], fraction: float) -> dict[str, Any]:
    n = len(item.cells)
    shown = np.arange(n)
    if fraction < 1:
        shown = np.sort(np.random.default_rng(0).choice(n, max(1, int(fraction * n)), replace=False))
    return {
        "name": item.name,
        "cells": [str(item.cells[row]) for row in shown.tolist()],
        "note": _remark(n, len(shown), [name for name, column in columns.items() if column is None]),
        "views": [_view(view, shown) for view in item.views],
        "columns": [
            column | {"values": _base64(column["values"][shown])}
            for column in columns.values()
            if column is not None
        ]
        # A map is always coloured by something.
        or [
            {
                "name": "set",
                "levels": [item.name],
                "slots": [0],
                "values": _base64(np.zeros(len(shown), np.uint8)),
            }
        ],
    }


def _remark(cells: int, shown: int, left_out: Sequence[str]) -> str:
    """What the page does not show, in plain words."""
    words = []
    if shown < cells:
        words.append(f"{shown:,} of {cells:,} cells are shown, drawn at random to keep this page small.")
    if left_out:
        words.append(f"Not offered, as they hold more than {_MOST_LEVELS} values: {', '.join(left_out)}.")
    return " ".join(words)


def _view(view: View, shown: NDArray[np.int64]) -> dict[str, Any]:
    """Coordinates moved into the unit square, one scale for both axes."""
    low = view.coordinates.min(0)
    span = float(np.ptp(view.coordinates, axis=0).max()) or 1.0
    centred = (view.coordinates - low) / span
    placed = np.round((centred + (1 - centred.max(0)) / 2) * 65_535).astype(np.uint16)[shown]
    return {"name": view.name, "note": view.note, "x": _base64(placed[:, 0]), "y": _base64(placed[:, 1])}


def _base64(codes: NDArray[Any]) -> str:
    """Little-endian bytes as text."""
    return base64.b64encode(np.ascontiguousarray(codes, codes.dtype.newbyteorder("<")).tobytes()).decode()
