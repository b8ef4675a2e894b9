"""Spatial Transcriptomics (the arrays before Visium): a count table and a table of spots.

The count table has a row a spot, named by its array coordinates such as ``10x13``; the spot table has the
columns ``x``, ``y``, ``pixel_x`` and ``pixel_y``. Its other columns, such as a pathologist's ``label``, are
kept. Published sections come so (her2st, cSCC).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.spatial.joins import join_names
from biolm.io.spatial.open import SectionOptions
from biolm.io.spatial.section import Section
from biolm.io.spatial.tables import header_of, memory_source, read_columns, read_counts

__all__ = ["USES", "open_layout", "recognises"]

USES = ("allow_unmatched",)
PITCH_UM = 200.0
_TEXT = (".tsv", ".csv", ".txt")
_PLACES = {"x", "y", "pixel_x", "pixel_y"}
_OWN = {*_PLACES, "new_x", "new_y", "selected", "array_x", "array_y"}


def recognises(path: Path) -> bool:
    """Whether it is a folder with one table of spots with pixels, and one other table."""
    return path.is_dir() and _tables(path) is not None


def open_layout(path: Path, options: SectionOptions) -> Section:
    """Open the spots of an array.

    Raises
    ------
    InputError
        If the two tables do not belong together.
    """
    tables = _tables(path)
    assert tables is not None
    spots, table = tables
    (names,), genes, counts = read_counts(table, 1)
    columns = read_columns(spots, [], ["x", "y", "pixel_x", "pixel_y"])
    header = header_of(spots)[0]
    # A name that repeats could mean either of its columns.
    others = [name for name in header if name and name not in _OWN and header.count(name) == 1]
    further = read_columns(spots, others, []) if others else {}
    chosen = (
        read_columns(spots, [], ["selected"])["selected"] == 1
        if "selected" in header
        else np.ones(len(columns["x"]), bool)
    )
    ids = np.array(
        [f"{round(x)}x{round(y)}" for x, y in zip(columns["x"][chosen], columns["y"][chosen], strict=True)],
        np.str_,
    )
    rows, places, fraction = join_names(names, ids, str(path), allow_unmatched=options.allow_unmatched)

    def kept(name: str) -> Any:
        return {**columns, **further}[name][chosen][places]

    return Section(
        name=path.name,
        layout="st",
        source=memory_source(counts, names, genes),
        rows=rows,
        names=names[rows],
        xy=np.stack((kept("pixel_x"), kept("pixel_y")), 1),
        columns={
            "array_x": np.rint(kept("x")),
            "array_y": np.rint(kept("y")),
            **{name: _numbers_or_text(kept(name)) for name in others},
        },
        spot_pitch_um=PITCH_UM,
        counted={
            "spots": len(names),
            "matched": len(rows),
            "matched_fraction": fraction,
            "spots_not_selected": int((~chosen).sum()),
        },
    )


def _numbers_or_text(values: NDArray[np.str_]) -> NDArray[Any]:
    try:
        return values.astype(np.float64)
    except ValueError:
        return values


def _tables(path: Path) -> tuple[Path, Path] | None:
    """The table of spots and the table of counts; None where there are no such two."""
    files = [f for f in sorted(path.iterdir()) if Path(f.name.removesuffix(".gz")).suffix in _TEXT]
    try:
        spots = [file for file in files if set(header_of(file)[0]) >= _PLACES]
    except InputError:
        return None
    others = [file for file in files if file not in spots]
    return (spots[0], others[0]) if len(spots) == len(others) == 1 else None
