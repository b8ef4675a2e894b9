"""One self-contained HTML page: maps of cells to explore, scores beside their baselines, provenance.

Dimensions: ``n`` cells.

The page loads nothing: styles, script and data lie inside, and its content security policy forbids the
network. It reads well on a phone and in print. The template lies in ``page/`` beside this module.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError
from biolm.io.atomic import replacing

__all__ = ["CellMap", "ScoreRow", "ScoreTable", "View", "write_report"]

# Paul Tol's "muted" scheme and a dark grey: told apart under the common forms of colour blindness.
PALETTE = (
    "#332288", "#CC6677", "#117733", "#88CCEE", "#DDCC77",
    "#882255", "#44AA99", "#AA4499", "#999933", "#555555",
)  # fmt: skip
# Seven steps of viridis.
SCALE = ("#440154", "#443983", "#31688e", "#21918c", "#35b779", "#90d743", "#fde725")


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
        Annotations ``(n,)`` each; text becomes a category, numbers a colour scale.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One method of a table; ``low`` and ``high`` bound ``value``. None where it cannot be computed."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    accuracy: float | None = None
    is_model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Scores of several methods on one question: how they were taken, and the answer in plain words."""

    title: str
    rows: Sequence[ScoreRow]
    note: str = ""
    verdict: Sequence[str] = ()
    header: tuple[str, str, str] = field(default=("Method", "Macro-F1", "Accuracy"))


def write_report(
    path: Path,
    *,
    title: str,
    summary: Sequence[str],
    maps: Sequence[CellMap],
    tables: Sequence[ScoreTable],
    provenance: Mapping[str, Any],
    picture: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page.

    Parameters
    ----------
    path
        The HTML file.
    title, summary
        Heading and paragraphs below it, as plain text.
    maps
        At least one set of cells.
    tables
        Scores.
    provenance
        Plain values, or dictionaries of them that fold away.
    picture
        A PNG shown where scripts are switched off.

    Raises
    ------
    InputError
        If a map has no cells or no view, or its columns differ in length.
    OutputError
        If the file exists and ``overwrite`` is not set.
    """
    if not maps:
        raise InputError("a report needs at least one set of cells")
    data = {"datasets": [_dataset(item) for item in maps], "colours": PALETTE, "scale": SCALE}
    template = files("biolm.tasks") / "page"
    image = base64.b64encode(picture.read_bytes()).decode() if picture else ""
    parts = {
        "title": escape(title),
        "summary": "\n".join(f"<p>{escape(text)}</p>" for text in summary),
        "style": (template / "page.css").read_text(encoding="utf-8"),
        "script": (template / "page.js").read_text(encoding="utf-8"),
        "picture": f'<img src="data:image/png;base64,{image}" alt="Maps of the cells">' if image else "",
        "tables": "\n".join(map(_table, tables)),
        "provenance": _definitions(provenance),
        # "<" would let a label close the script element.
        "data": json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
    }
    page = (template / "page.html").read_text(encoding="utf-8")
    pieces = page.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text("".join(filled), encoding="utf-8")


def _dataset(item: CellMap) -> dict[str, Any]:
    if not len(item.cells) or not item.views:
        raise InputError(f"set {item.name!r} has no cells or no view to draw")
    lengths = {len(np.asarray(column)) for column in item.columns.values()}
    lengths |= {len(view.coordinates) for view in item.views}
    if lengths - {len(item.cells)}:
        raise InputError(
            f"set {item.name!r} has {len(item.cells)} cells but columns of {sorted(lengths)} rows"
        )
    return {
        "name": item.name,
        "cells": [str(cell) for cell in item.cells],
        "views": [_view(view) for view in item.views],
        "columns": [_column(item, name, values) for name, values in item.columns.items()],
    }


def _view(view: View) -> dict[str, Any]:
    """Coordinates moved into the unit square, one scale for both axes."""
    low = view.coordinates.min(0)
    span = float(np.ptp(view.coordinates, axis=0).max()) or 1.0
    centred = (view.coordinates - low) / span
    # Three decimals are finer than a screen's pixels.
    placed = np.round(centred + (1 - centred.max(0)) / 2, 3).astype(float)
    return {"name": view.name, "note": view.note, "x": placed[:, 0].tolist(), "y": placed[:, 1].tolist()}


def _column(item: CellMap, name: str, values: ArrayLike) -> dict[str, Any]:
    column = np.asarray(values)
    if column.dtype.kind in "biuf":
        numbers = [round(float(value), 4) if np.isfinite(value) else None for value in column.astype(float)]
        return {"name": name, "levels": None, "values": numbers}
    text = column.astype(str)
    levels, codes = np.unique(text, return_inverse=True)
    names = levels.tolist()
    return {"name": name, "levels": names, "slots": item.slots(names), "values": codes.tolist()}


def _table(table: ScoreTable) -> str:
    method, score, accuracy = table.header
    body = "\n".join(map(_row, table.rows))
    words = [("note", table.note)] if table.note else []
    words += [("verdict", sentence) for sentence in table.verdict]
    note = "\n".join(f'<p class="{kind}">{escape(text)}</p>' for kind, text in words)
    return (
        f"<section>\n<h2>{escape(table.title)}</h2>\n{note}\n"
        f'<div class="wide"><table>\n<thead><tr><th scope="col">{escape(method)}</th>'
        f'<th scope="col">{escape(score)}</th><th scope="col">95 % interval</th>'
        f'<th scope="col" class="bar">0 to 1</th><th scope="col">{escape(accuracy)}</th></tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n</section>"
    )


def _row(row: ScoreRow) -> str:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    interval = "–" if row.low is None or row.high is None else f"{row.low:.3f}–{row.high:.3f}"
    bar = ""
    if row.value is not None:
        low, high = (row.value if bound is None else bound for bound in (row.low, row.high))
        line = f'<i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>'
        bar = f'<span class="interval">{line}<b style="left:{100 * row.value:.1f}%"></b></span>'
    cells = f'<td class="number">{number(row.value)}</td><td class="number">{interval}</td>'
    if row.value is None:
        cells = '<td colspan="2">cannot be computed</td>'
    return (
        f'<tr{" class=model" if row.is_model else ""}><th scope="row">{escape(row.name)}</th>{cells}'
        f'<td class="bar">{bar}</td><td>{number(row.accuracy)}</td></tr>'
    )


def _definitions(facts: Mapping[str, Any]) -> str:
    """Plain facts as a list, dictionaries as parts that fold away."""
    plain = {name: value for name, value in facts.items() if not isinstance(value, Mapping) and value != ""}
    lines = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(_text(v))}</dd>" for k, v in plain.items())
    folded = "".join(
        f"<details><summary>{escape(str(name))}</summary>{_definitions(value)}</details>"
        for name, value in facts.items()
        if isinstance(value, Mapping)
    )
    return (f"<dl>{lines}</dl>" if lines else "") + folded


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
