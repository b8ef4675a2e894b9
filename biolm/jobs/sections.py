"""Sections of tissue as a kind of data: read as cells are, and written with their places.

Dimensions: ``n`` spots, bins or cells of the section · ``d`` width of the embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError
from biolm.io.anndata.columns import CellAdditions
from biolm.io.anndata.result import STORES, write_store
from biolm.io.anndata.vectors import Addition, CellVectors
from biolm.io.cells import CellSource
from biolm.io.spatial import Section, SectionOptions, open_section
from biolm.io.spatial.cells import SectionCells, section_cells
from biolm.io.spatial.open import is_section_folder
from biolm.jobs.cells import CellEmbedding, CellWriter, input_facts, prepare
from biolm.jobs.modality import Modality
from biolm.jobs.spool import Arrays, Parts
from biolm.jobs.tokens import CellTokens
from biolm.progress import log

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["MODALITY"]


PLACES = "spatial"


@dataclass(frozen=True, slots=True)
class _Placed:
    """A result and the places of its rows."""

    result: Addition
    places: CellAdditions

    def add(self, root: Any) -> None:
        """Put both into an AnnData group."""
        self.result.add(root)
        self.places.add(root)


class _Embedding(CellEmbedding):
    """Cells with places: a job on the same counts at other places is another job."""

    def same(self) -> dict[str, Any]:
        """What was read, places included, and how."""
        return {**super().same(), "input": _facts(self.source)}


class _Writer(CellWriter):
    """Vectors of a section enter a new table, with ``obsm["spatial"]`` ``(n, 2)``, x before y."""

    def identity(self, source: CellSource) -> dict[str, Any]:
        """Cells, genes and places of the section."""
        return _facts(source)

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
        return super().size(_section(source).source, form)

    def write(self, target: Path, form: str, result: CellVectors, parts: Parts, source: CellSource) -> None:
        """Write counts, places and vectors, or the vectors alone."""
        if form in STORES:
            write_store(source, target, form, _Placed(result, _places(source)))
        else:
            super().write(target, form, result, parts, source)

    def table(self, source: CellSource, result: CellVectors, parts: Iterable[Arrays]) -> AnnData:
        """Counts, places and vectors in memory."""
        adata = super().table(source, result, parts)
        _places(source).attach(adata)
        return adata


def _check_key(key: str) -> None:
    if key == PLACES:
        raise ConfigError(f"the places of a section are in obsm['{PLACES}']; choose another key (`key`)")


def _places(source: CellSource) -> CellAdditions:
    return CellAdditions(matrices={PLACES: _section(source).xy})


def _facts(source: CellSource) -> dict[str, Any]:
    places = np.ascontiguousarray(_section(source).xy, "<f8").tobytes()
    return {**input_facts(source), "places": hashlib.sha256(places).hexdigest()}


def _section(source: CellSource) -> Section:
    assert isinstance(source, SectionCells)
    return source.section


def _open(data: str | Path, settings: Any) -> SectionCells:
    if settings.transpose:
        raise ConfigError("`transpose` is for tables of cells and means nothing for a section; leave it out")
    section = open_section(data, SectionOptions(matrix=settings.matrix))
    counted = ", ".join(f"{name} {value}" for name, value in section.counted.items())
    log.info("%s section %s: %s", section.layout, section.name, counted)
    return section_cells(section, Path(data))


MODALITY = Modality(
    name="sections",
    read_as="cells",
    recognises=lambda data: isinstance(data, str | Path) and is_section_folder(Path(data)),
    open=_open,
    embedding=partial(prepare, made=_Embedding),
    writer=_Writer(),
    tokens=CellTokens.of,
)
"""The entry of folders that instruments write. An h5ad or zarr with ``obsm["spatial"]``, such as a prepared
section, is copied with everything in it, as other tables of cells are."""
