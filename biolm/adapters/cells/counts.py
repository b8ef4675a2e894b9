"""Are these raw counts? A look at some rows before the work, and at every block as it is read.

Dimensions: ``v`` stored values that were looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.counts_watch import fractional, rows_in_words, rows_with, watcher
from biolm.adapters.cells.rows import check_block
from biolm.errors import InputError
from biolm.io.cells.block import CellBlock, CellSource

__all__ = ["CountsReport", "check_block", "check_counts", "watch_counts"]

SPANS, SPAN_ROWS = 16, 32  # rows are looked at in 16 places of the file
LOG_LARGEST = 20.0  # log(1 + x) of no real library exceeds it; FPKM and CPM values do
SAME_SUM = 0.01  # relative spread of cell sums under which they were made equal on purpose

COUNTS = "raw counts"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsReport:
    """What the values of a matrix look like.

    Parameters
    ----------
    matrix
        ``X``, ``layers/NAME`` or ``raw/X``.
    kind
        ``raw counts``, or what it most looks like instead.
    rows, values
        Cells and stored values that were looked at.
    whole
        Fraction of the stored values that are whole numbers.
    largest
        Largest value seen.
    """

    matrix: str
    kind: str
    rows: int
    values: int
    whole: float
    largest: float

    @property
    def is_counts(self) -> bool:
        """Whether the matrix looks like raw counts."""
        return self.kind == COUNTS

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for provenance."""
        return asdict(self)


def check_counts(
    source: CellSource,
    *,
    allow_normalised: bool = False,
    reopen: Callable[[str], CellSource] | None = None,
) -> CountsReport:
    """Look at rows spread over a file, have every later block looked at, and refuse anything but counts.

    A file may be put together of samples of which one is normalised, so the source goes on checking what it
    reads: a block with values that are not whole is refused as soon as it comes, with its cells named.

    Parameters
    ----------
    source
        The open table; :attr:`CellSource.matrix` is checked.
    allow_normalised
        Accept normalised values; negative and non-finite values are refused all the same.
    reopen
        Opens another matrix of the same table, to find one that holds counts; by default
        :func:`biolm.io.cells.open_cells` on the source's path. Needed for tables in memory.

    Raises
    ------
    InputError
        If the values are negative, infinite, not numbers, or not whole; the message names what they look
        like and which matrix of this file holds counts.
    """
    blocks = _sample(source)
    report = _described(source.matrix, blocks)
    if report.is_counts:
        source.watch(_watcher(blocks, reopen, allow_normalised=allow_normalised))
    if report.is_counts or (allow_normalised and report.kind not in _ALWAYS_REFUSED):
        return report
    raise InputError(_refusal(source, report, _places(source, blocks), reopen))


def watch_counts(source: CellSource) -> None:
    """Have every block of a source looked at whose file passed :func:`check_counts` before.

    Its matrix is refused as there, as soon as a block holds values that are not whole.
    """
    source.watch(_watcher([], None, allow_normalised=False))


def _watcher(
    blocks: list[CellBlock], reopen: Callable[[str], CellSource] | None, *, allow_normalised: bool
) -> Callable[[CellSource, CellBlock], None] | None:
    """What looks at each block; None where values need not be counts."""
    if allow_normalised:
        return None
    sampled = [block.numbers for block in blocks]

    def refuse(source: CellSource, part: CellBlock, places: str) -> None:
        report = _described(source.matrix, [part])
        raise InputError(_refusal(source, report, places, reopen))

    return watcher(np.concatenate([np.empty(0, np.int64), *sampled]), refuse)


def _places(source: CellSource, blocks: list[CellBlock]) -> str:
    """Which of the cells that were looked at hold no counts; empty where most or none do."""
    numbers = np.concatenate([block.numbers for block in blocks])
    bad = np.concatenate([rows_with(block, fractional(block.data)) for block in blocks])
    holding = np.concatenate([np.diff(block.indptr) > 0 for block in blocks])
    good = numbers[~bad & holding]
    # In a normalised matrix a cell of one gene may hold a whole number.
    return rows_in_words(source, numbers[bad], good) if 0 < bad.sum() < len(good) else ""


def _refusal(
    source: CellSource, report: CountsReport, places: str, reopen: Callable[[str], CellSource] | None
) -> str:
    """What the matrix holds, in which cells, and what the user can do."""
    name = f"{source.path}: {source.matrix}" if source.path else source.matrix
    seen = f"{report.whole:.0%} whole numbers, largest {report.largest:.4g}"
    advice = _advice(source, reopen, may_allow=report.kind not in _ALWAYS_REFUSED, some=bool(places))
    where = f" {places}" if places else ""
    return f"{name} holds {report.kind} ({seen}){where} where raw counts are wanted; {advice}"


_SCALED = "scaled values, some of them negative"
_BROKEN = "values that are infinite or not a number"
_ALWAYS_REFUSED = (_SCALED, _BROKEN)


def _advice(
    source: CellSource, reopen: Callable[[str], CellSource] | None, *, may_allow: bool, some: bool
) -> str:
    """Which matrix of the file would do, and what else the user can do; ``some`` cells may hold counts."""
    others = [name for name in source.matrices() if name != source.matrix]
    if reopen is None and source.kind != "memory":
        reopen = _reopener(source)
    # Where only some cells are normalised, allowing it would mix two kinds of values.
    allow = ", or allow normalised values (`allow_normalised=True`)" if may_allow and not some else ""
    if reopen is None:
        tried = f"try layer {' or '.join(others)}" if others else "give an AnnData with raw counts"
        return tried + allow
    for name in others:
        with reopen(name) as other:
            if _described(name, _sample(other)).is_counts:
                return f"{name} holds counts: choose it with `layer='{name}'`{allow}"
    missing = (
        "put the raw counts of these cells in, or leave them out" if some else "get the file with raw counts"
    )
    return f"no other matrix of the file holds counts, so {missing}{allow}"


def _reopener(source: CellSource) -> Callable[[str], CellSource]:
    """Opens other matrices of the file of a source."""
    from biolm.io.cells import open_cells

    return lambda name: open_cells(str(source.path), matrix=name)


def _described(matrix: str, blocks: list[CellBlock]) -> CountsReport:
    """Describe the values of the rows that were looked at."""
    values = np.concatenate([block.data for block in blocks]).astype(np.float64)
    finite = values[np.isfinite(values)]
    apart = fractional(finite)
    return CountsReport(
        matrix=matrix,
        kind=_kind(blocks, values, not apart.any()),
        rows=sum(len(block) for block in blocks),
        values=len(values),
        whole=float(1 - apart.mean()) if len(apart) else 1.0,
        largest=float(finite.max(initial=0.0)),
    )


def _sample(source: CellSource) -> list[CellBlock]:
    """Rows from all over the file, the first and the last among them."""
    last = max(source.n_cells - SPAN_ROWS, 0)
    starts = np.unique(np.linspace(0, last, SPANS).astype(int))
    stops = np.minimum(starts + SPAN_ROWS, [*starts[1:], source.n_cells])
    return [
        block
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        for block in source.blocks(rows=SPAN_ROWS, start=start, stop=stop)
    ]


def _kind(blocks: list[CellBlock], values: NDArray[np.float64], whole: bool) -> str:
    """What the values most look like."""
    if not np.isfinite(values).all():
        return _BROKEN
    if (values < 0).any():
        return _SCALED
    if whole:
        return COUNTS
    largest = values.max(initial=0.0)
    if largest <= LOG_LARGEST and _equal_sums(blocks, np.expm1):
        return "log-normalised values"
    if _equal_sums(blocks, np.asarray):
        return "values normalised to one sum for all cells (such as CPM or TPM)"
    if largest <= LOG_LARGEST:
        return "values that look log-transformed"
    return "values that are not whole numbers (such as FPKM, or counts that were corrected)"


def _equal_sums(blocks: list[CellBlock], undo: Callable[[NDArray[Any]], NDArray[Any]]) -> bool:
    """Whether all cells have about the same sum after ``undo``, as normalising leaves them."""
    sums = np.concatenate(
        [
            np.bincount(
                np.repeat(np.arange(len(block)), np.diff(block.indptr)),
                weights=undo(block.data.astype(np.float64)),
                minlength=len(block),
            )
            for block in blocks
        ]
    )
    sums = sums[sums > 0]
    return len(sums) > 1 and bool(sums.std() <= SAME_SUM * sums.mean())
