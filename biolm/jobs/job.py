"""Embed the blocks of a source: check, match genes, run the model, flag empty cells.

Dimensions: ``n`` cells of a block · ``g`` genes of the file · ``d`` width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.adapters.cells.centre import centring_of
from biolm.errors import ConfigError, InputError
from biolm.io.anndata.vectors import CellVectors
from biolm.io.cells import CellBlock, CellSource
from biolm.io.provenance import plain
from biolm.jobs.bind import fit
from biolm.jobs.embed_settings import EmbedSettings
from biolm.models.model import CellModel, EmbedOptions
from biolm.progress import log, progress
from biolm.vocab.match import GeneMatch

__all__ = ["Job", "cut", "empty_cells", "finished", "prepare"]

# Cells read at a time: fewer make reading slow, more take memory.
_READ_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A source and a model that fit each other, ready to run.

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
    """

    source: CellSource
    model: CellModel
    match: GeneMatch
    settings: EmbedSettings
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the result in ``obsm``."""
        return self.settings.key or f"X_{self.model.name}"

    @property
    def step(self) -> int:
        """Cells embedded at a time. Blocks always start at multiples of it, so a resumed job cuts alike."""
        return self.settings.block_rows or self.model.block_rows

    def vectors(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Vectors ``(n, d)`` of consecutive blocks; ``start`` and ``stop`` are multiples of :attr:`step`."""
        from biolm.adapters.cells.counts import check_block

        options = EmbedOptions(
            pool=self.settings.pool,
            batch_tokens=self.settings.batch_tokens,
            device=self.settings.device,
            seed=self.settings.seed,
            hidden_state=self.settings.hidden_state,
            precision=self.settings.precision,
            compile=self.settings.compile,
        )
        rows = self.step * max(1, _READ_ROWS // self.step)
        total = self.source.n_cells if stop is None else stop
        with progress("embedding", total, start=start, show=self.settings.progress) as advance:
            for block in self.source.blocks(rows, start, total):
                check_block(block)
                for part in cut(block, self.step):
                    yield self._embed(part, options)
                    advance(len(part))

    def _embed(self, block: CellBlock, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of one block; zero for empty cells."""
        vectors = self.model.embed(block, self.match, options)
        vectors[empty_cells(block, self.match)] = 0
        broken = ~np.isfinite(vectors).all(1)
        if broken.any():
            cell = block.numbers[int(np.argmax(broken))]
            raise InputError(
                f"model {self.model.name} gave values that are not finite for {int(broken.sum())} cells, "
                f"first for cell {cell}; check the checkpoint and the values of that cell"
            )
        return vectors

    def result(self, vectors: NDArray[np.float32]) -> CellVectors:
        """All vectors with provenance, centred where that was asked for."""
        return finished(vectors, self.key, self.provenance(), centre=self.settings.centre)

    def provenance(self) -> dict[str, Any]:
        """Plain facts that tell how the vectors are made; no date and no path."""
        chosen = self.settings
        record: dict[str, Any] = plain(
            {
                "model": self.model.name,
                "checkpoint": self.facts,
                "biolm_version": biolm.__version__,
                "parameters": {
                    "pool": chosen.pool or (self.model.pools[0] if self.model.pools else None),
                    "hidden_state": chosen.hidden_state,
                    "device": chosen.device,
                    "precision": chosen.precision,
                    "centred": chosen.centre,
                    "allow_normalised": chosen.allow_normalised,
                    "minimum_match": chosen.minimum_match,
                    "species": chosen.species,
                },
                "genes": self.match.report.as_dict(),
                "matrix": self.source.matrix,
                "seed": chosen.seed,
                "cells": self.source.n_cells,
            }
        )
        return record


def finished(
    vectors: NDArray[np.float32], key: str, provenance: dict[str, Any], *, centre: bool
) -> CellVectors:
    """All vectors ``(n, d)`` of a job with what is written beside them; empty cells are counted and told."""
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


def prepare(
    source: CellSource,
    model: CellModel,
    settings: EmbedSettings,
    reopen: Callable[[str], CellSource] | None = None,
) -> Job:
    """Check that source, model and settings fit, before any work; ``reopen`` as for :func:`fit`.

    Raises
    ------
    InputError, GeneMatchError, ConfigError
        If they do not.
    """
    if settings.pool is not None and settings.pool not in model.pools:
        offered = ", ".join(model.pools) or "none"
        raise ConfigError(f"model {model.name} has no pool '{settings.pool}'; choose from: {offered}")
    match = fit(source, model, settings, reopen)
    return Job(source=source, model=model, match=match, settings=settings, facts=plain(model.describe()))


def cut(block: CellBlock, rows: int) -> Iterator[CellBlock]:
    """A block in pieces of at most ``rows`` cells; nothing is copied."""
    for start in range(0, len(block), rows):
        yield block.part(start, min(start + rows, len(block)))


def empty_cells(block: CellBlock, match: GeneMatch) -> NDArray[np.bool_]:
    """``(n,)`` cells without a count in any gene of the vocabulary.

    Nearly every cell shows such a count among its first stored values, so few are read whole.
    """
    empty = np.ones(len(block), bool)
    first, last = block.indptr[:-1], block.indptr[1:]
    for step in range(16):
        rows = np.flatnonzero(empty & (first + step < last))
        places = first[rows] + step
        known = (match.target[block.indices[places]] >= 0) & (block.data[places] != 0)
        empty[rows[known]] = False
    for row in np.flatnonzero(empty):
        span = slice(int(first[row]), int(last[row]))
        empty[row] = not ((match.target[block.indices[span]] >= 0) & (block.data[span] != 0)).any()
    return empty
