"""One self-contained HTML page: maps of cells to explore, scores beside their baselines, plots, provenance.

The page loads nothing: styles, script and data lie inside, and its content security policy forbids the
network. It reads well on a phone and in print, dark or light. The template lies in ``page/`` beside this
module. What stands on it is a list of parts, shown in order; each part knows its own HTML.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from biolm.errors import InputError
from biolm.io.atomic import replacing
from biolm.report.maps import PALETTE, PALETTE_DARK, SCALE, CellMap, View, pack_maps
from biolm.report.plots import (
    CalibrationPlot,
    Confusion,
    Curve,
    Curves,
    palette_style,
    standalone,
)
from biolm.report.tables import ClassTable, MetricRow, MetricTable, ScoreRow, ScoreTable

__all__ = [
    "PALETTE",
    "CalibrationPlot",
    "CellMap",
    "ClassTable",
    "Confusion",
    "Curve",
    "Curves",
    "MetricRow",
    "MetricTable",
    "Part",
    "ScoreRow",
    "ScoreTable",
    "View",
    "write_plots",
    "write_report",
]


class Part(Protocol):
    """Something to stand on the page: a table or a plot of this module, or your own."""

    @property
    def title(self) -> str:
        """Its heading."""
        ...

    def html(self) -> str:
        """A ``<section>`` of the page, every text in it escaped."""
        ...


def write_report(
    path: Path,
    *,
    title: str,
    summary: Sequence[str],
    maps: Sequence[CellMap] = (),
    parts: Sequence[Part] = (),
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
        Sets of cells to explore. Together they take 8 MB at most: of more cells a random share is shown,
        and the page says so.
    parts
        Any of :class:`ScoreTable`, :class:`MetricTable`, :class:`Curves`, :class:`Confusion`,
        :class:`CalibrationPlot`, :class:`ClassTable`, in the order of the page.
    provenance
        Plain values, or dictionaries of them that fold away.
    picture
        A PNG shown where scripts are switched off.

    Raises
    ------
    InputError
        If a map has no cells or no view, its columns differ in length, or there is nothing to show.
    OutputError
        If the file exists and ``overwrite`` is not set.

    Examples
    --------
    >>> import tempfile
    >>> rows = [ScoreRow(name="model", value=0.7, is_model=True), ScoreRow(name="PCA", value=0.8)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder) / "report.html"
    ...     table = ScoreTable(title="Cell types", rows=rows)
    ...     write_report(page, title="Blood", summary=[], parts=[table], provenance={"seed": 0})
    ...     "<h2>Cell types</h2>" in page.read_text()
    True
    """
    if not maps and not parts:
        raise InputError("a report needs at least one set of cells or one part")
    data = {"datasets": pack_maps(maps), "colours": PALETTE, "dark": PALETTE_DARK, "scale": SCALE}
    template = files("biolm.report") / "page"

    def file(name: str) -> str:
        return (template / name).read_text(encoding="utf-8")

    image = base64.b64encode(picture.read_bytes()).decode() if picture else ""
    pieces = {
        "title": escape(title),
        "summary": "\n".join(f"<p>{escape(text)}</p>" for text in summary),
        "style": file("page.css") + file("plot.css") + palette_style(),
        "script": file("page.js") + file("maps.js") if maps else file("page.js"),
        "maps": _filled(file("maps.html"), {"picture": _image(image)}) if maps else "",
        "parts": "\n".join(part.html() for part in parts),
        "provenance": _definitions(provenance),
        # "<" would let a label close the script element.
        "data": json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
    }
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(_filled(file("page.html"), pieces), encoding="utf-8")


def write_plots(folder: Path, parts: Sequence[Part]) -> list[Path]:
    """Write every part that is a plot as an SVG file named after its title.

    Parameters
    ----------
    folder
        That is there.
    parts
        Of the report.

    Returns
    -------
    The files.

    Raises
    ------
    OutputError
        If a file exists.
    """
    written = []
    for part in parts:
        if not isinstance(part, Curves | Confusion | CalibrationPlot):
            continue
        slug = re.sub(r"[^a-z0-9]+", "-", part.title.lower()).strip("-") or "plot"
        path = folder / f"{slug}.svg"
        with replacing(path) as temporary:
            temporary.write_text(standalone(part.svg()), encoding="utf-8")
        written.append(path)
    return written


def _filled(template: str, pieces: Mapping[str, str]) -> str:
    """The template with ``{{name}}`` replaced once; what is put in is not read again."""
    first, *others = template.split("{{")
    filled = [first]
    for piece in others:
        name, _, rest = piece.partition("}}")
        filled += [pieces[name], rest]
    return "".join(filled)


def _image(encoded: str) -> str:
    return f'<img src="data:image/png;base64,{encoded}" alt="Maps of the cells">' if encoded else ""


def _definitions(metadata: Mapping[str, Any]) -> str:
    """Plain values as a list, dictionaries as parts that fold away."""
    plain = {
        name: value for name, value in metadata.items() if not isinstance(value, Mapping) and value != ""
    }
    lines = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(_text(v))}</dd>" for k, v in plain.items())
    folded = "".join(
        f"<details><summary>{escape(str(name))}</summary>{_definitions(value)}</details>"
        for name, value in metadata.items()
        if isinstance(value, Mapping)
    )
    return (f"<dl>{lines}</dl>" if lines else "") + folded


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
