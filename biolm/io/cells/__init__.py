"""Reading tables of cells in row blocks, whatever the file format.

>>> from biolm.io.cells import open_cells
>>> with open_cells("data/cells/pbmc68k_reduced_counts_700.h5ad") as cells:
...     shapes = [(len(block), block.n_genes) for block in cells.blocks(rows=500)]
>>> shapes
[(500, 765), (200, 765)]
"""

from __future__ import annotations

from biolm.io.cells.block import CellBlock, CellSource
from biolm.io.cells.labels import label_text
from biolm.io.cells.open import open_cells
from biolm.io.cells.source import duplicated_names

__all__ = ["CellBlock", "CellSource", "duplicated_names", "label_text", "open_cells"]
