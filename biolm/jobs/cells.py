"""Cells as a kind of data: tables of counts, their genes matched to a model, embedded block by block.

Dimensions: ``n`` cells of a block · ``g`` genes of the file · ``d`` width of the embedding · ``k`` blocks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.centre import centring_of
from biolm.errors import ConfigError, InputError
from biolm.io.anndata.read import read_anndata
from biolm.io.anndata.result import FORMATS, check_store, write_result
from biolm.io.anndata.vectors import PLACES, Addition, CellVectors
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellBlock, CellSource, open_cells
from biolm.io.provenance import digest, plain, stamp
from biolm.jobs.bind import bind_genes
from biolm.jobs.embedding import check_pool, embed_options, embedding_options, model_parameters, provenance_of
from biolm.jobs.job import block_ends
from biolm.jobs.merging import Merging
from biolm.jobs.modality import Modality
from biolm.jobs.precision import Choice, check_precision, decided
from biolm.jobs.settings import CellSettings
from biolm.jobs.shards import check_same_input
from biolm.jobs.spool import Arrays, Parts
from biolm.jobs.tokens import CellTokens
from biolm.models.model import CellModel
from biolm.progress import log, progress
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "MODALITY",
    "CellEmbedding",
    "CellWriter",
    "cells_of_shards",
    "cut",
    "empty_cells",
    "input_facts",
    "prepare",
    "whole_table",
]

# Cells read at a time: fewer make reading slow, more take memory.
_READ_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class CellEmbedding:
    """Cells and a model that fit each other; see :class:`~biolm.jobs.modality.Embedding`.

    Parameters
    ----------
    source
        The open cells.
    model
        The loaded model.
    match
        Where each gene of the source goes in the model's vocabulary.
    settings
        The user's choices.
    facts
        What :meth:`CellModel.describe` says.
    panel
        What :meth:`CellModel.examine` says of the file's genes.
    choice
        What ``precision='auto'`` decided; None where it was not asked.
    """

    source: CellSource
    model: CellModel
    match: GeneMatch
    settings: CellSettings
    facts: dict[str, Any] = field(default_factory=dict)
    panel: dict[str, float] = field(default_factory=dict)
    choice: Choice | None = None

    def with_settings(self, settings: CellSettings, choice: Choice | None = None) -> CellEmbedding:
        """The same cells and model with other choices."""
        return replace(self, settings=settings, choice=choice)

    @property
    def step(self) -> int:
        """Cells embedded at a time. Blocks always start at multiples of it, so a resumed job cuts alike."""
        return self.settings.block_rows or self.model.block_rows

    @property
    def ends(self) -> NDArray[np.int64]:
        """``(k + 1,)`` cells at which blocks begin and end."""
        return block_ends(self.source.n_cells, self.step)

    def blocks(self, first: int, last: int) -> Iterator[CellBlock]:
        """The blocks ``first`` to ``last``, read several at a time."""
        from biolm.adapters.cells.counts import check_block

        # Several blocks are read at once: files are chunked in thousands of cells, models want tens.
        rows = self.step * max(1, _READ_ROWS // self.step)
        stop = min(last * self.step, self.source.n_cells)
        for block in self.source.blocks(rows, first * self.step, stop):
            check_block(block)
            yield from cut(block, self.step)

    def compute(self, block: CellBlock) -> dict[str, NDArray[np.float32]]:
        """``vectors`` ``(n, d)`` of one block; zero for empty cells.

        Raises
        ------
        InputError
            If the model gives values that are not finite.
        """
        vectors = self.model.embed(block, self.match, embed_options(self.settings))
        vectors[empty_cells(block, self.match)] = 0
        broken = ~np.isfinite(vectors).all(1)
        if broken.any():
            cell = block.numbers[int(np.argmax(broken))]
            raise InputError(
                f"model {self.model.name} gave values that are not finite for {int(broken.sum())} cells, "
                f"first for cell {cell}; check the checkpoint and the values of that cell"
            )
        return {"vectors": vectors}

    def vectors(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Vectors ``(n, d)`` of consecutive blocks; ``start`` and ``stop`` are multiples of :attr:`step`.

        Parameters
        ----------
        start, stop
            Cells; multiples of :attr:`step`, or the end.
        """
        total = self.source.n_cells if stop is None else stop
        with progress("embedding", total, start=start, show=self.settings.progress) as advance:
            for block in self.blocks(start // self.step, -(-total // self.step)):
                yield self.compute(block)["vectors"]
                advance(len(block))

    def same(self) -> dict[str, Any]:
        """What makes two jobs the same: what was read, how."""
        reading = {"gene_column": self.match.report.column, "match": self.settings.match, "step": self.step}
        options = embedding_options(self.settings) | reading | decided(self.choice)
        return {"input": input_facts(self.source), "options": options}

    def provenance(self) -> dict[str, Any]:
        """Plain facts that tell how the vectors are made; no date and no path."""
        chosen = self.settings
        reading = {
            "centred": getattr(chosen, "centre", False),
            "adapted": getattr(chosen, "adapt", False) or None,
            "allow_normalised": chosen.allow_normalised,
            "minimum_match": chosen.minimum_match,
            "match": chosen.match,
            "species": chosen.species,
        }
        return provenance_of(
            self.model,
            self.facts,
            model_parameters(self.model, chosen, **reading, **decided(self.choice)),
            genes=self.match.report.as_dict(),
            matrix=self.source.matrix,
            panel=self.panel or None,
            seed=chosen.seed,
            cells=self.source.n_cells,
        )


def prepare(
    source: CellSource,
    model: CellModel,
    settings: CellSettings,
    reopen: Callable[[str], CellSource] | None = None,
    kind: type[CellEmbedding] = CellEmbedding,
) -> CellEmbedding:
    """Check that source, model and settings fit, before any work.

    Parameters
    ----------
    source, model, settings, reopen
        As for :func:`bind_genes`.
    kind
        What is made of them.

    Raises
    ------
    InputError, GeneMatchError, ConfigError
        If they do not.
    """
    check_pool(model, settings)
    check_precision(model, settings)
    # Other blocks would be other groups, and so other vectors.
    if model.reads == "group" and settings.block_rows is not None:
        raise ConfigError(
            f"a vector of {model.name} depends on the cells that it is read with, which the model chooses; "
            "leave the block rows out"
        )
    match = bind_genes(source, model, settings, reopen)
    if getattr(settings, "adapt", False):
        model = model.adapted(source, match)
    return kind(
        source=source,
        model=model,
        match=match,
        settings=settings,
        facts=plain(model.describe()),
        panel=model.examine(match),
    )


class CellWriter:
    """Vectors of cells enter a copy of the table that they were made from."""

    formats = FORMATS
    needs_source = True

    def identity(self, source: CellSource) -> dict[str, Any]:
        """Cells and genes of the table."""
        return input_facts(source)

    def result(
        self, vectors: NDArray[np.float32], key: str, provenance: dict[str, Any], *, centre: bool
    ) -> CellVectors:
        """All vectors ``(n, d)`` with what is written beside them; empty cells are counted and reported."""
        # Only empty cells have a vector of zeros.
        rows = range(0, len(vectors), _READ_ROWS)
        parts = [~np.asarray(vectors[a : a + _READ_ROWS]).any(1) for a in rows]
        empty = np.concatenate(parts) if parts else np.zeros(0, bool)
        if empty.any():
            log.warning(
                "%d cells hold no counts in genes of the model; their vectors are zero (flag: %s_empty)",
                empty.sum(),
                key,
            )
        return CellVectors(
            key=key,
            vectors=vectors,
            empty=empty,
            provenance=plain({**provenance, "empty_cells": int(empty.sum())}),
            transform=centring_of(vectors) if centre else None,
        )

    def check(self, source: CellSource, form: str, key: str, *, overwrite: bool) -> None:
        """Check that the vectors can enter a copy of the input."""
        check_store(source, form, key, overwrite=overwrite)

    def size(self, source: CellSource, form: str) -> int:
        """Bytes of the copy of the input."""
        if source.path is None or form not in ("h5ad", "zarr"):
            return 0
        return sum(state.st_size for state in _files(source.path))

    def write(
        self,
        target: Path,
        form: str,
        result: Addition,
        parts: Parts,  # noqa: ARG002  # the contract of writers
        source: CellSource,
    ) -> None:
        """Write a copy of the table with the vectors, or the vectors alone."""
        write_result(source, target, form, result)

    def table(
        self,
        source: CellSource,
        result: Addition,
        parts: Iterable[Arrays],  # noqa: ARG002
    ) -> AnnData:
        """The table in memory with the vectors."""
        adata = whole_table(source)
        result.attach(adata)
        return adata


def whole_table(source: CellSource) -> AnnData:
    """The table of cells in memory, with everything that an h5ad or zarr holds."""
    if source.kind in ("h5ad", "zarr") and source.path is not None:
        return read_anndata(source.path)
    import anndata
    import pandas as pd
    import scipy.sparse as sp

    whole = source.unsplit()
    blocks = [
        sp.csr_matrix((block.data, block.indices, block.indptr), (len(block), block.n_genes))
        for block in whole.blocks()
    ]
    cells = {name: source.obs_column(name) for name in source.obs_columns()}
    genes = whole.gene_columns()
    names = genes.pop("index")
    return anndata.AnnData(
        sp.vstack(blocks, format="csr"),
        obs=pd.DataFrame(cells, index=source.cell_names()),
        var=pd.DataFrame(genes, index=names),
        obsm={} if source.places is None else {PLACES: source.places},
    )


def cut(block: CellBlock, rows: int) -> Iterator[CellBlock]:
    """A block in pieces of at most ``rows`` cells; nothing is copied.

    Parameters
    ----------
    block
        The cells.
    rows
        Most cells of a piece.
    """
    for start in range(0, len(block), rows):
        yield block.part(start, min(start + rows, len(block)))


def empty_cells(block: CellBlock, match: GeneMatch) -> NDArray[np.bool_]:
    """``(n,)`` cells without a count in any gene of the vocabulary.

    Nearly every cell shows such a count among its first stored values, so few are read whole.

    Parameters
    ----------
    block
        The cells.
    match
        Where their genes go.
    """
    empty = np.ones(len(block), bool)
    first, last = block.indptr[:-1], block.indptr[1:]
    # Most cells have a known gene among their first: a few steps over all rows, then one by one.
    for step in range(16):
        rows = np.flatnonzero(empty & (first + step < last))
        places = first[rows] + step
        known = (match.target[block.indices[places]] >= 0) & (block.data[places] != 0)
        empty[rows[known]] = False
    for row in np.flatnonzero(empty):
        span = slice(int(first[row]), int(last[row]))
        empty[row] = not ((match.target[block.indices[span]] >= 0) & (block.data[span] != 0)).any()
    return empty


@contextmanager
def cells_of_shards(merging: Merging, matrix: str) -> Iterator[CellSource]:
    """The cells that shards were made from, open; ``matrix`` is what is read of them.

    Parameters
    ----------
    merging
        The shards.
    matrix
        Which is read.

    Raises
    ------
    InputError
        If the cells changed.
    """
    with open_table(merging.place, matrix=matrix) as source:
        check_same_input(input_facts(source), merging.job["input"], source.path)
        yield source


def input_facts(source: CellSource) -> dict[str, Any]:
    """What distinguishes one input from another, wherever it lies: its contents, cells and genes."""
    metadata: dict[str, Any] = {
        "stamp": stamp(source.path),
        "matrix": source.matrix,
        "cells": source.n_cells,
        "cell_names": digest({"names": source.cell_names()}),
        "genes": digest(source.gene_columns()),
    }
    if source.places is not None:
        metadata["places"] = hashlib.sha256(source.places.astype("<f8").tobytes()).hexdigest()
    return metadata


def _files(path: Path) -> Iterator[os.stat_result]:
    """State of a file, or of the files of a folder in order of name."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            yield file.stat()


MODALITY = Modality(
    name="cells",
    recognises=lambda data: not isinstance(data, str | Path),
    open=lambda data, settings: open_cells(data, matrix=settings.matrix),
    embedding=prepare,
    writer=CellWriter(),
    tokens=CellTokens.of,
)
"""The entry of cells; a path that nobody recognises is theirs, so that their readers say what they read."""
