"""Plots of the report as SVG: confusion matrix, calibration, curves. Each also stands alone as a file.

Dimensions: ``c`` classes · ``k`` names of another vocabulary · ``p`` points of a curve.

Plots are drawn about 420 units wide, so that their text is as large as the page's on a phone. Colours are
variables of the page's style, which follow dark and light; a file of its own holds the light ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.report.maps import PALETTE, PALETTE_DARK
from biolm.report.tables import section
from biolm.scoring.calls import Calibration

__all__ = ["CalibrationPlot", "Confusion", "Curve", "Curves", "palette_style", "standalone"]

_PLOT = {"left": 52, "right": 408, "top": 12, "bottom": 260}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How the cells of each class were called.

    Parameters
    ----------
    title, note
        What is shown, and how it was taken.
    names
        ``(c,)`` classes, the rows.
    counts
        ``(c, c)`` cells of the true class (row) called the class (column); ``(c, k)`` with ``columns``.
    columns
        ``(k,)`` names in another vocabulary than the rows': no cell is then right or wrong, and all shades
        are of one neutral colour.
    """

    title: str
    names: Sequence[str]
    counts: NDArray[np.int64]
    note: str = ""
    columns: Sequence[str] | None = None

    def svg(self) -> str:
        """The matrix; shades are fractions of the row."""
        named = self.names if self.columns is None else self.columns
        most = max(len(self.names), len(named))
        cell = 34 if most <= 10 else 24 if most <= 25 else 14
        left = 14 + 7.6 * min(max((len(name) for name in self.names), default=0), 26)
        tilted = int(5.5 * min(max((len(name) for name in named), default=0), 26))
        head, across, down = 20 + tilted, len(named) * cell, len(self.names) * cell
        width, height = left + across + max(8, tilted - cell // 2 + 6), head + down + 22
        parts = [_text(left + across / 2, height - 5, "called", "middle soft")]
        shares = self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1)
        for row, name in enumerate(self.names):
            y = head + row * cell
            parts.append(_text(left - 6, y + cell / 2 + 4, _short(name), "end"))
            parts += [
                self._cell(row, column, left + column * cell, y, cell, float(shares[row, column]))
                for column in range(len(named))
                if self.counts[row, column]
            ]
        for column, name in enumerate(named):
            x = left + (column + 0.5) * cell + 3
            parts.append(_text(x, head - 6, _short(name), "", f'transform="rotate(-45 {x:.1f} {head - 6})"'))
        frame = f'<rect class="frame" x="{left}" y="{head}" width="{across}" height="{down}"/>'
        title = (
            f"Confusion matrix of {len(named)} classes"
            if self.columns is None
            else f"Table of {len(self.names)} known and {len(named)} called types"
        )
        return _svg(width, height, [*parts, frame], title)

    def _cell(self, row: int, column: int, x: float, y: float, cell: int, fraction: float) -> str:
        called = (self.names if self.columns is None else self.columns)[column]
        tip = (
            f"{self.names[row]} called {called}: {int(self.counts[row, column]):,} cells, "
            f"{100 * fraction:.1f} % of {self.names[row]}"
        )
        kind = "neutral" if self.columns is not None else "right" if row == column else "wrong"
        box = (
            f'<rect class="cell {kind}" x="{x:.0f}" y="{y:.0f}" width="{cell}" height="{cell}" '
            f'fill-opacity="{max(fraction, 0.02):.3f}" data-tip="{escape(tip)}"/>'
        )
        # Numbers of two digits do not fit a smaller cell; the tip has them.
        if cell < 24:
            return box
        dark = " on" if fraction > 0.55 else ""
        return box + _text(x + cell / 2, y + cell / 2 + 4, f"{100 * fraction:.0f}", f"middle inside{dark}")

    def html(self) -> str:
        """The section of the page."""
        rows = "true classes" if self.columns is None else "known types"
        note = f"{self.note} Rows are {rows}; numbers and shades are per cent of the row.".strip()
        return section(self.title, note, _figure(self.svg()))


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationPlot:
    """Confidence against the fraction of right calls; on the diagonal the two agree."""

    title: str
    calibration: Calibration
    note: str = ""

    def svg(self) -> str:
        """A point a bin, its area the number of cells."""
        x, y = _scale(0, 1, "x"), _scale(0, 1, "y")
        calibration = self.calibration
        ends = f'x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"'
        parts = [*_axes([0, 0.25, 0.5, 0.75, 1], x, "confidence", "fraction right")]
        parts.append(f'<line class="diagonal" {ends}/>')
        path = " ".join(
            f"{x(a)},{y(b)}" for a, b in zip(calibration.confidence, calibration.accuracy, strict=True)
        )
        parts.append(f'<polyline class="line l-mark" points="{path}"/>')
        largest = calibration.cells.max()
        for mean, accuracy, cells in zip(
            calibration.confidence, calibration.accuracy, calibration.cells, strict=True
        ):
            tip = f"confidence {mean:.2f}: {accuracy:.2f} right, {int(cells):,} cells"
            radius = 3 + 7 * math.sqrt(cells / largest)
            parts.append(
                f'<circle class="f-mark" fill-opacity="0.75" cx="{x(mean)}" cy="{y(accuracy)}" '
                f'r="{radius:.1f}" data-tip="{escape(tip)}"/>'
            )
        return _svg(420, 306, parts, "Calibration: confidence against the fraction of right calls")

    def html(self) -> str:
        """The section of the page."""
        error = self.calibration.ece
        word = "Confidence is calibrated" if error <= 0.05 else "Confidence is NOT calibrated"
        note = f"{self.note} {word}: expected calibration error {error:.3f} (mark: at most 0.05).".strip()
        return section(self.title, note, _figure(self.svg()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One method of a plot.

    Parameters
    ----------
    name
        The method.
    x, y
        ``(p,)`` each.
    low, high
        ``(p,)`` bounds of ``y``; none by default.
    is_model
        Whether it is a model under test: drawn thicker.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    is_model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Several methods over one quantity, values from 0 to 1.

    Parameters
    ----------
    title, note
        What is shown, and how it was taken.
    x_label, y_label
        Axes.
    curves
        The methods; colours follow their order.
    log
        Whether the horizontal axis is logarithmic.
    """

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    note: str = ""
    log: bool = False

    def svg(self) -> str:
        """Lines with whiskers, and a legend below."""
        values = sorted({float(v) for curve in self.curves for v in curve.x})
        x = _scale(values[0], values[-1], "x", log=self.log, inset=16)
        y = _scale(0, 1, "y")
        parts = _axes(values, x, self.x_label, self.y_label)
        # Baselines first, so that the models lie on top.
        order = sorted(range(len(self.curves)), key=lambda i: self.curves[i].is_model)
        for i in order:
            parts += _line(self.curves[i], i, x, y, shift=3 * (i - (len(self.curves) - 1) / 2))
        height = _PLOT["bottom"] + 56
        for i, curve in enumerate(self.curves):
            place = 52 + 190 * (i % 2), height + 20 * (i // 2)
            parts.append(_marker(i, place[0] + 7, place[1] - 4, 4.5))
            parts.append(_text(place[0] + 18, place[1], _short(curve.name), "bold" if curve.is_model else ""))
        return _svg(420, height + 20 * ((len(self.curves) - 1) // 2) + 10, parts, self.title)

    def html(self) -> str:
        """The section of the page."""
        return section(self.title, self.note, _figure(self.svg()))


def palette_style() -> str:
    """The colours as variables of the page, for light and dark."""
    light, dark = (
        "".join(f"--c{i}: {colour}; " for i, colour in enumerate(colours))
        for colours in (PALETTE, PALETTE_DARK)
    )
    return (
        f":root {{ {light}}}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"
        + "".join(f".f{i} {{ fill: var(--c{i}); }} .l{i} {{ stroke: var(--c{i}); }}\n" for i in range(10))
    )


def standalone(svg: str) -> str:
    """A plot as a file of its own: style inside, light colours written out, for any drawing program."""
    page = (files("biolm.report") / "page" / "page.css").read_text(encoding="utf-8")
    plot = (files("biolm.report") / "page" / "plot.css").read_text(encoding="utf-8")
    root = re.search(r":root \{(.*?)\}", page, re.S)
    values = dict(re.findall(r"--(\w+): ([^;]+);", root.group(1) if root else ""))
    values |= {f"c{i}": colour for i, colour in enumerate(PALETTE)}
    rules = plot + palette_style().partition("}\n@media")[2].partition("} }\n")[2]
    style = re.sub(r"var\(--(\w+)\)", lambda match: values[match.group(1)], rules)
    head, _, rest = svg.partition(">")
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head} xmlns="http://www.w3.org/2000/svg">'
        f"<style>svg {{ background: #fff; }} {style}</style>{rest}\n"
    )


def _figure(svg: str) -> str:
    return f'<div class="wide plot">{svg}</div>'


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg class="chart" {box} role="img" aria-label="{escape(title)}">' + "\n".join(parts) + "</svg>"


def _text(x: float, y: float, text: str, kind: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"


def _scale(low: float, high: float, axis: str, *, log: bool = False, inset: int = 0) -> Any:
    """Where a value lies on the plot."""
    ends = ("left", "right") if axis == "x" else ("bottom", "top")
    start, stop = (_PLOT[end] for end in ends)
    start, stop = start + inset, stop - inset

    def place(value: float) -> float:
        if high == low:
            return round((start + stop) / 2, 1)
        position = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return round(start + position * (stop - start), 1)

    return place


def _axes(values: Sequence[float], x: Any, x_label: str, y_label: str) -> list[str]:
    left, right, top, bottom = (_PLOT[side] for side in ("left", "right", "top", "bottom"))
    y = _scale(0, 1, "y")
    parts = []
    for value in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(_text(left - 7, y(value) + 4, f"{value:.1f}", "end soft"))
    parts += [_text(x(value), bottom + 17, f"{value:g}", "middle soft") for value in values]
    parts.append(_text((left + right) / 2, bottom + 36, x_label, "middle"))
    parts.append(
        _text(13, (top + bottom) / 2, y_label, "middle", f'transform="rotate(-90 13 {(top + bottom) / 2})"')
    )
    return parts


def _line(curve: Curve, slot: int, x: Any, y: Any, shift: float) -> list[str]:
    """One method: whiskers moved apart so that they do not overlap, the line through the points."""
    colour = slot % len(PALETTE)
    thick = " thick" if curve.is_model else ""
    points = [(x(a) + shift, y(b)) for a, b in zip(curve.x, curve.y, strict=True)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    parts = [f'<polyline class="line l{colour}{thick}" points="{path}"/>']
    parts += [
        f'<line class="l{colour}" x1="{a:.1f}" x2="{a:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
        for (a, _), low, high in zip(points, curve.low, curve.high, strict=False)
    ]
    for (a, b), value, score in zip(points, curve.x, curve.y, strict=True):
        tip = f"{curve.name}, {value:g}: {score:.3f}"
        parts.append(_marker(slot, a, b, 5 if curve.is_model else 4, f' data-tip="{escape(tip)}"'))
    return parts


def _marker(slot: int, x: float, y: float, r: float, more: str = "") -> str:
    """Three shapes in turn, so that a method is recognised without its colour."""
    kind = f'class="f{slot % len(PALETTE)}"{more}'
    if slot % 3 == 0:
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
    if slot % 3 == 1:
        return (
            f'<rect {kind} x="{x - 0.9 * r:.1f}" y="{y - 0.9 * r:.1f}" width="{1.8 * r}" height="{1.8 * r}"/>'
        )
    side = 1.1 * r
    base = f"{x + side:.1f} {y + 0.9 * r:.1f} {x - side:.1f} {y + 0.9 * r:.1f}"
    return f'<path {kind} d="M{x:.1f} {y - 1.2 * r:.1f} {base}z"/>'
