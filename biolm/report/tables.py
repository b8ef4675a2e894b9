"""Tables of the report: scores with intervals, many metrics side by side, scores of each class.

Dimensions: ``k`` metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from biolm.scoring.calls import ClassScore
from biolm.scoring.quality import Score

__all__ = ["ClassTable", "MetricRow", "MetricTable", "ScoreRow", "ScoreTable", "TextTable", "section"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One method of a table; ``low`` and ``high`` bound ``value``. None where it cannot be computed."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    accuracy: float | None = None
    is_model: bool = False

    @classmethod
    def of(cls, score: Score, *, is_model: bool) -> ScoreRow:
        """The row of a score.

        Parameters
        ----------
        score
            Of one method.
        is_model
            Whether it is under test, not a baseline.
        """
        values = {name: getattr(score, name) for name in ("name", "low", "high", "accuracy")}
        return cls(**values, value=score.macro_f1, is_model=is_model)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Scores of several methods on one question: how they were taken, and the answer in plain words."""

    title: str
    rows: Sequence[ScoreRow]
    note: str = ""
    verdict: Sequence[str] = ()
    header: tuple[str, str, str] = field(default=("Method", "Macro-F1", "Accuracy"))

    def html(self) -> str:
        """The section of the page."""
        method, score, accuracy = self.header
        head = _head(method), _head(score), _head("95 % interval"), _head("0 to 1", "bar"), _head(accuracy)
        return section(self.title, self.note, _table(head, map(_score_row, self.rows)), self.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One method of a table of metrics.

    Parameters
    ----------
    name
        The method.
    values
        ``(k,)`` one value a metric, None where it cannot be computed.
    is_model
        Whether it is a model under test, not a baseline.
    is_control
        Whether it only shows what chance gives; it is never marked as the best.
    """

    name: str
    values: Sequence[float | None]
    is_model: bool = False
    is_control: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTable:
    """Many metrics of several methods, each from 0 to 1 and better when higher; the best of each is marked.

    Parameters
    ----------
    title, note, verdict
        What is asked, how it was measured, the answer in plain words.
    columns
        ``(k,)`` names of the metrics.
    rows
        One a method.
    explain
        ``(k,)`` what each metric says, shown when its name is pointed at or tapped; none by default.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[MetricRow]
    note: str = ""
    verdict: Sequence[str] = ()
    explain: Sequence[str] = ()

    def html(self) -> str:
        """The section of the page."""
        explain = [*self.explain, *[""] * (len(self.columns) - len(self.explain))]
        head = [_head("Method")]
        head += [
            f'<th scope="col" data-tip="{escape(tip)}" data-sort>{escape(name)}</th>'
            for name, tip in zip(self.columns, explain, strict=True)
        ]
        scored = [row for row in self.rows if not row.is_control]
        best = [
            max((value for row in scored if (value := row.values[i]) is not None), default=None)
            for i in range(len(self.columns))
        ]
        lines = [
            f'<tr{" class=model" if row.is_model else ""}><th scope="row">{escape(row.name)}</th>'
            + "".join(
                _metric(value, None if row.is_control else top)
                for value, top in zip(row.values, best, strict=True)
            )
            + "</tr>"
            for row in self.rows
        ]
        return section(self.title, self.note, _table(head, lines, "metrics"), self.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTable:
    """Precision, recall and F1 of each class; a click on a heading sorts."""

    title: str
    rows: Sequence[ClassScore]
    note: str = ""

    def html(self) -> str:
        """The section of the page."""
        head = [
            f'<th scope="col" data-sort{bar}>{name}</th>'
            for name, bar in (
                ("Class", ""),
                ("Cells", ""),
                ("Precision", ""),
                ("Recall", ""),
                ("F1", ""),
                ("F1, 0 to 1", ' class="bar"'),
            )
        ]
        lines = [
            f'<tr><th scope="row">{escape(row.name)}</th><td class="number">{row.cells:,}</td>'
            f'<td class="number">{row.precision:.3f}</td><td class="number">{row.recall:.3f}</td>'
            f'<td class="number">{row.f1:.3f}</td><td class="bar" data-value="{row.f1:.4f}">'
            f'<span class="filled"><b style="width:{100 * row.f1:.1f}%"></b></span></td></tr>'
            for row in self.rows
        ]
        return section(self.title, self.note, _table(head, lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Rows of plain text; the first column heads its row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def html(self) -> str:
        """The section of the page."""
        lines = [
            f'<tr><th scope="row">{escape(str(first))}</th>'
            + "".join(f"<td>{escape(str(text))}</td>" for text in rest)
            + "</tr>"
            for first, *rest in self.rows
        ]
        return section(self.title, self.note, _table([_head(name) for name in self.columns], lines))


def section(title: str, note: str, body: str, verdict: Sequence[str] = ()) -> str:
    """A titled part of the page; ``body`` is HTML, the rest plain text.

    Parameters
    ----------
    title, note
        Plain text.
    body
        HTML.
    verdict
        Sentences below the title.
    """
    words = [("note", note)] if note else []
    words += [("verdict", sentence) for sentence in verdict]
    above = "\n".join(f'<p class="{kind}">{escape(text)}</p>' for kind, text in words)
    return f"<section>\n<h2>{escape(title)}</h2>\n{above}\n{body}\n</section>"


def _table(head: Sequence[str], lines: Iterable[str], kind: str = "") -> str:
    rows = "\n".join(lines)
    style = f' class="{kind}"' if kind else ""
    return (
        f'<div class="wide"><table{style}>\n<thead><tr>{"".join(head)}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _head(name: str, kind: str = "") -> str:
    return f'<th scope="col"{f" class={kind}" if kind else ""}>{escape(name)}</th>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _metric(value: float | None, top: float | None) -> str:
    if value is None:
        return '<td class="number">–</td>'
    best = " best" if top is not None and round(value, 3) == round(top, 3) else ""
    shade = min(max(value, 0.0), 1.0)
    return f'<td class="number{best}" style="--share:{100 * shade:.0f}%"><span>{value:.3f}</span></td>'


def _score_row(row: ScoreRow) -> str:
    interval = "–" if row.low is None or row.high is None else f"{row.low:.3f}–{row.high:.3f}"
    bar = ""
    if row.value is not None:
        low, high = (row.value if bound is None else bound for bound in (row.low, row.high))
        line = f'<i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>'
        bar = f'<span class="interval">{line}<b style="left:{100 * row.value:.1f}%"></b></span>'
    cells = f'<td class="number">{_number(row.value)}</td><td class="number">{interval}</td>'
    if row.value is None:
        cells = '<td colspan="2">cannot be computed</td>'
    return (
        f'<tr{" class=model" if row.is_model else ""}><th scope="row">{escape(row.name)}</th>{cells}'
        f'<td class="bar">{bar}</td><td class="number">{_number(row.accuracy)}</td></tr>'
    )
