"""Are these raw counts? A look at some rows before a model that was defined on counts reads them all.

Dimensions: ``v`` stored values that were looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import check_block
from biolm.errors import InputError
from biolm.io.cells.block import CellBlock, CellSource

__all__ = ["CountsReport", "check_block", "check_counts"]

SPANS, SPAN_ROWS = 16, 32  # rows are looked at in 16 places of the file
WHOLE = 1e-6  # counts that went through text or float32 sums carry noise of this size at most
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
        Share of the stored values that are whole numbers.
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
    """Look at rows spread over a file and refuse anything but counts.

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
    report = _look(source)
    if report.is_counts or (allow_normalised and report.kind not in _ALWAYS_REFUSED):
        return report
    name = f"{source.path}: {source.matrix}" if source.path else source.matrix
    seen = f"{report.whole:.0%} whole numbers, largest {report.largest:.4g}"
    raise InputError(
        f"{name} holds {report.kind} ({seen}) where raw counts are wanted; "
        + _advice(source, reopen, may_allow=report.kind not in _ALWAYS_REFUSED)
    )


_SCALED = "scaled values, some of them negative"
_BROKEN = "values that are infinite or not a number"
_ALWAYS_REFUSED = (_SCALED, _BROKEN)


def _advice(source: CellSource, reopen: Callable[[str], CellSource] | None, *, may_allow: bool) -> str:
    """Which matrix of the file would do, and what else the user can do."""
    others = [name for name in source.matrices() if name != source.matrix]
    if reopen is None and source.kind != "memory":
        reopen = _reopener(source)
    allow = ", or allow normalised values (--allow-normalised)" if may_allow else ""
    if reopen is None:
        tried = f"try layer {' or '.join(others)}" if others else "give an AnnData with raw counts"
        return tried + allow
    for name in others:
        with reopen(name) as other:
            if _look(other).is_counts:
                return f"{name} holds counts: choose it with --layer {name}{allow}"
    return f"no other matrix of the file holds counts, so get the file with raw counts{allow}"


def _reopener(source: CellSource) -> Callable[[str], CellSource]:
    """Opens other matrices of the file of a source."""
    from biolm.io.cells import open_cells

    return lambda name: open_cells(str(source.path), matrix=name)


def _look(source: CellSource) -> CountsReport:
    """Describe the values of the rows that are looked at."""
    blocks = _sample(source)
    values = np.concatenate([block.data for block in blocks]).astype(np.float64)
    finite = values[np.isfinite(values)]
    nearest = np.rint(finite)
    near = np.abs(finite - nearest) <= WHOLE * np.maximum(1.0, np.abs(finite))
    # A tiny value is no count of zero: zeros are stored as zero or not at all.
    near &= (nearest != 0) | (finite == 0)
    return CountsReport(
        matrix=source.matrix,
        kind=_kind(blocks, values, bool(near.all())),
        rows=sum(len(block) for block in blocks),
        values=len(values),
        whole=float(near.mean()) if len(near) else 1.0,
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
