"""A section as a table of cells, so that whatever reads cells reads sections.

Dimensions: ``n`` spots of the section.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from biolm.io.cells.block import CellBlock, CellSource
from biolm.io.cells.source import OpenCells, Table
from biolm.io.spatial.section import Section

__all__ = ["SectionCells", "section_cells"]


@dataclass(slots=True, kw_only=True)
class SectionCells(OpenCells):
    """A section as an open table of cells.

    Parameters
    ----------
    section
        The section, with places and images.
    """

    section: Section


def section_cells(section: Section, path: Path | None = None) -> SectionCells:
    """The spots of a section, in its order, with the columns of its table; closing it closes the section.

    Parameters
    ----------
    section
        The section.
    path
        The folder it was read from, to know it again; None for data in memory.
    """
    genes = dict(section.source.gene_columns())
    index = genes.pop("index")
    return SectionCells(
        path=path,
        kind="section",
        matrix="X",
        rows=_SectionRows(section.source, section),
        obs=Table(
            lambda: section.names,
            {name: partial(np.asarray, column) for name, column in section.columns.items()},
        ),
        var=Table(lambda: index, {name: partial(np.asarray, column) for name, column in genes.items()}),
        offered=["X"],
        on_close=section.close,
        places=np.ascontiguousarray(section.xy, np.float64),
        section=section,
    )


class _SectionRows:
    """Rows of the count table that belong to the section."""

    def __init__(self, source: CellSource, section: Section) -> None:
        self.shape = (len(section), section.n_genes)
        self._source, self._rows = source, section.rows

    def read(self, start: int, stop: int) -> CellBlock:
        """The spots ``start`` to ``stop``."""
        block = self._source.take(self._rows[start:stop])
        return CellBlock(start, block.data, block.indices, block.indptr, self.shape[1])

    def close(self) -> None:
        """Nothing of its own."""
