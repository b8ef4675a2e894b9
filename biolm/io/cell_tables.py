"""Tables of cells of any kind: files of counts, and the folders that instruments of tissue sections write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biolm.errors import ConfigError
from biolm.io.cells import CellSource, open_cells
from biolm.io.spatial import SectionOptions, open_section
from biolm.io.spatial.cells import section_cells
from biolm.io.spatial.open import is_section_folder
from biolm.progress import log

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["open_table"]


def open_table(data: str | Path | AnnData, *, matrix: str = "X", transpose: bool = False) -> CellSource:
    """Open cells for reading in row blocks; spots, bins and cells of a section's folder count as cells.

    Parameters
    ----------
    data
        What :func:`biolm.io.cells.open_cells` opens, or a folder of an instrument
        (:func:`biolm.io.spatial.open_section`), read with its layout's defaults.
    matrix, transpose
        As for :func:`biolm.io.cells.open_cells`; a section is not transposed.

    Raises
    ------
    InputError
        If it cannot be read, with the reason.
    ConfigError
        If a section is to be transposed.

    Examples
    --------
    >>> with open_table("data/cells/pbmc_cite_10k.h5ad") as cells:
    ...     cells.n_cells, cells.places is None
    (200, True)
    """
    if not isinstance(data, str | Path) or not is_section_folder(Path(data)):
        return open_cells(data, matrix=matrix, transpose=transpose)
    if transpose:
        raise ConfigError("`transpose` is for tables of cells and means nothing for a section; leave it out")
    section = open_section(data, SectionOptions(matrix=matrix))
    counted = ", ".join(f"{name} {value}" for name, value in section.counted.items())
    log.info("%s section %s: %s", section.layout, section.name, counted)
    return section_cells(section, Path(data))
