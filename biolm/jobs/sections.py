"""Sections of tissue as a kind of data: read as cells are, and written with their places.

Dimensions: ``n`` spots, bins or cells of the section · ``d`` width of the embedding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError
from biolm.io.anndata.vectors import PLACES, CellVectors
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellSource
from biolm.io.spatial.cells import SectionCells
from biolm.io.spatial.open import is_section_folder
from biolm.jobs.cells import CellWriter, prepare
from biolm.jobs.modality import Modality
from biolm.jobs.tokens import CellTokens

__all__ = ["MODALITY"]


class _Writer(CellWriter):
    """Vectors of a section enter a new table, with ``obsm["spatial"]`` ``(n, 2)``, x before y."""

    def result(
        self, vectors: NDArray[np.float32], key: str, provenance: dict[str, Any], *, centre: bool
    ) -> CellVectors:
        """All vectors with what is written beside them."""
        _check_key(key)
        return super().result(vectors, key, provenance, centre=centre)

    def check(self, source: CellSource, form: str, key: str, *, overwrite: bool) -> None:
        """Check, before any work, that the vectors do not take the name of the places."""
        _check_key(key)
        super().check(source, form, key, overwrite=overwrite)

    def size(self, source: CellSource, form: str) -> int:
        """Bytes of the counts, not of the images beside them."""
        assert isinstance(source, SectionCells)
        return super().size(source.section.source, form)


def _check_key(key: str) -> None:
    if key == PLACES:
        raise ConfigError(f"the places of a section are in obsm['{PLACES}']; choose another key (`key`)")


def _open(data: str | Path, settings: Any) -> CellSource:
    return open_table(data, matrix=settings.matrix, transpose=settings.transpose)


MODALITY = Modality(
    name="sections",
    read_as="cells",
    recognises=lambda data: isinstance(data, str | Path) and is_section_folder(Path(data)),
    open=_open,
    embedding=prepare,
    writer=_Writer(),
    tokens=CellTokens.of,
)
"""The entry of folders that instruments write. An h5ad or zarr with ``obsm["spatial"]``, such as a prepared
section, is copied with everything in it, as other tables of cells are."""
