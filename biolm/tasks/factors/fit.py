"""Fit a factor model of cells to files of any gene panels, human and mouse.

Dimensions: ``s`` sets · ``n`` cells of a set · ``h`` human genes · ``k`` genes with loadings · ``d`` factors.

Each file is read once, a sample of its cells is kept in a temporary folder, and the fit reads one of the
samples at a time: memory holds one sample, whatever the number of files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.factors import human_match, log_counts, panel_of
from biolm.adapters.cells.rows import check_block
from biolm.errors import InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellBlock
from biolm.jobs.bind import bind_genes
from biolm.models.model import EmbedOptions
from biolm.models.systems import cellfactors, genetext
from biolm.models.systems.cellfactors import FEWEST, CellFactors
from biolm.options import refuse_unused
from biolm.progress import progress
from biolm.tasks.factors.em import FactorSet, fit_factors
from biolm.tasks.factors.settings import FitSettings
from biolm.vocab.match import GeneMatch

__all__ = ["fit_to_files", "fit_to_folder"]

_FEWEST_CELLS = 5  # of a set that show a gene, for the set to say something about it
_LEAST_VARIANCE = 1e-4  # of log counts: below it, rounding
_WHOLE = 5000  # genes of a set from which the fractions of counts are taken


@dataclass(frozen=True, eq=False)
class _Sample:
    """Cells of a file in the temporary folder, columns being the ``h`` human genes."""

    file: Path
    panel: NDArray[np.int64]
    match: GeneMatch
    name: str

    def counts(self) -> Any:
        """Sparse ``(n, h)``."""
        from scipy.sparse import load_npz

        return load_npz(self.file)

    def block(self) -> CellBlock:
        """The same as a block."""
        table = self.counts()
        indptr = table.indptr.astype(np.int64)
        return CellBlock(0, table.data, table.indices.astype(np.int32), indptr, table.shape[1])

    def logs(self, fractions: NDArray[np.float32]) -> Any:
        """Sparse ``(n, h)`` logs of scaled counts."""
        block = self.block()
        return log_counts(block, self.match, fractions).table(block.n_genes)


def fit_to_folder(files: Sequence[str | Path], output: str | Path, settings: FitSettings) -> CellFactors:
    """Fit a factor model to files and write it to a folder, which every command takes as a model.

    Parameters
    ----------
    files
        Tables of counts, human or mouse, of any gene panels.
    output
        Folder to make.
    settings
        Choices of the fit.

    Raises
    ------
    InputError, GeneMatchError, OutputError
        If a file cannot be read, no gene is shared by two files, or the output exists.
    """
    target = Path(output)
    refuse_existing(target, overwrite=settings.overwrite)
    model = fit_to_files(files, settings)
    with replacing(target, overwrite=settings.overwrite) as temporary:
        temporary.mkdir()
        cellfactors.save(model, temporary / cellfactors.FILE)
    return cellfactors.load(target)


def fit_to_files(files: Sequence[str | Path], settings: FitSettings) -> CellFactors:
    """Fit a factor model to files; as :func:`fit_to_folder`, without writing.

    Parameters
    ----------
    files
        Unlabelled cells.
    settings
        Choices of the job.
    """
    refuse_unused(settings, "cells")
    if not files:
        raise InputError("a fit needs at least one file of cells; name one")
    _check_files([Path(file) for file in files])
    text = genetext.load()
    count = int((text.human == np.arange(len(text.human))).sum())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        samples = []
        with progress("reading", len(files), show=settings.progress, unit="files") as advance:
            for number, file in enumerate(files):
                samples.append(_sampled(file, place / f"counts{number}.npz", text, count, settings))
                advance(1)
        _check_shared(samples)
        fractions = _fractions(samples, count)
        rows, sets = _sets(samples, fractions, settings.genes, place)
        _check_cells(samples, settings.factors)
        with progress("fitting", settings.rounds * len(sets), show=settings.progress, unit="sets") as advance:
            fitted = fit_factors(
                sets,
                len(rows),
                factors=settings.factors,
                rounds=settings.rounds,
                seed=settings.seed,
                advance=advance,
            )
        means, measured = np.zeros(len(rows)), np.zeros(len(rows))
        for one in sets:
            # Mean of the sets' means: a large set must not set the origin of all others.
            means[one.genes] += one.mean
            measured[one.genes] += 1
        model = CellFactors(
            text=text,
            rows=rows,
            # As the file will hold them.
            loadings=fitted.loadings.astype(np.float16).astype(np.float32),
            noise=fitted.noise.astype(np.float32),
            means=(means / measured).astype(np.float32),
            fractions=fractions,
            scales=(1.0, 1.0),
            sha256="",
            about={
                "fit": f"{_cells(samples)} cells of {len(samples)} {'set' if len(samples) == 1 else 'sets'}",
                "fit_seed": str(settings.seed),
                "fit_rounds": str(settings.rounds),
            },
        )
        return replace(model, scales=_scales(model, samples))


def _sampled(
    file: str | Path, target: Path, text: genetext.GeneText, count: int, settings: FitSettings
) -> _Sample:
    """Counts of evenly spaced cells of a file, in columns of human genes."""
    from scipy.sparse import csr_matrix, save_npz, vstack

    with open_table(file, matrix=settings.matrix) as source:
        match = human_match(bind_genes(source, text, settings), text.human)
        known = np.flatnonzero(match.target >= 0)
        entries = (np.ones(len(known)), (known, match.target[known]))
        pick = csr_matrix(entries, shape=(source.n_genes, count))
        wanted = np.arange(0, source.n_cells, -(-source.n_cells // settings.cells), dtype=np.int64)
        parts = []
        for block in source.blocks():
            check_block(block)
            inside = wanted[(wanted >= block.start) & (wanted < block.start + len(block))] - block.start
            some = block.take(inside)
            shape = (len(some), source.n_genes)
            parts.append(csr_matrix((some.data.astype(np.float64), some.indices, some.indptr), shape) @ pick)
    table = csr_matrix(vstack(parts))
    # An empty cell has no fractions of counts, and would be divided by 0.
    table = table[np.asarray(table.sum(1)).ravel() > 0]
    if table.shape[0] < 2:
        raise InputError(
            f"{file} has counts in known genes in fewer than two cells ({table.shape[0]}); leave it out"
        )
    # Sums over a row must not depend on the order in which the file names its genes.
    table.sort_indices()
    save_npz(target, table)
    # Columns of one gene were summed by `pick`, so each stands for itself now.
    report = replace(match.report, summed=0)
    panel = panel_of(match)
    if len(panel) < FEWEST:
        raise InputError(
            f"{file} measures {len(panel)} genes that biolm knows, and a fit needs {FEWEST}; leave it out"
        )
    columns = np.full(count, -1, np.int32)
    columns[panel] = panel
    return _Sample(target, panel, GeneMatch(columns, report), str(file))


def _check_files(files: Sequence[Path]) -> None:
    """Refuse, before the first is read, files that are not there, and one that is there by several names.

    Its cells would count several times.
    """
    first: dict[tuple[int, int], Path] = {}
    for file in files:
        if not file.exists():
            raise InputError(f"{file}: no such file or folder; check the path")
        state = file.stat()
        known = first.setdefault((state.st_dev, state.st_ino), file)
        if known is not file:
            raise InputError(f"{file} is {known} once more, and its cells would count twice; leave one out")


def _cells(samples: Sequence[_Sample]) -> int:
    """Cells that are fitted to."""
    return sum(one.counts().shape[0] for one in samples)


def _check_cells(samples: Sequence[_Sample], factors: int) -> None:
    """Refuse a fit that has a factor for every cell, or more."""
    if (cells := _cells(samples)) <= factors:
        raise InputError(
            f"{cells} cells cannot tell {factors} factors apart; give more cells, or ask for fewer factors "
            "(`factors`)"
        )


def _check_shared(samples: Sequence[_Sample]) -> None:
    """Refuse sets that no gene joins: each would have factors of its own."""
    if len(samples) < 2:
        return
    genes, counts = np.unique(np.concatenate([one.panel for one in samples]), return_counts=True)
    shared = genes[counts > 1]
    for one in samples:
        both = int(np.isin(one.panel, shared).sum())
        if both < FEWEST:
            raise InputError(
                f"{one.name} shares {both} of its {len(one.panel):,} known genes with the other files, and "
                f"the fit needs {FEWEST}; leave it out or add files that measure its genes"
            )


def _fractions(samples: Sequence[_Sample], count: int) -> NDArray[np.float32]:
    """``(h,)`` mean fraction of a cell's counts a gene holds, over sets that measure most genes."""
    # In a small panel every gene seems to hold a large fraction of the counts.
    wide = [one for one in samples if len(one.panel) > _WHOLE]
    total, measured = np.zeros(count), np.zeros(count)
    for one in wide or samples:
        table = one.counts()
        weights = 1 / np.asarray(table.sum(1)).ravel()
        total += np.asarray(table.T @ weights).ravel() / table.shape[0]
        measured[one.panel] += 1
    return (total / np.maximum(measured, 1)).astype(np.float32)


def _sets(
    samples: Sequence[_Sample], fractions: NDArray[np.float32], most: int, folder: Path
) -> tuple[NDArray[np.int64], list[FactorSet]]:
    """Human rows of the genes that get loadings, and the sets in log counts of them."""
    from scipy.sparse import load_npz, save_npz

    moments, total, measured = [], np.zeros(len(fractions)), np.zeros(len(fractions))
    for one in samples:
        values = one.logs(fractions)
        mean = np.asarray(values.mean(0, dtype=np.float64)).ravel()
        square = np.asarray(values.multiply(values).mean(0, dtype=np.float64)).ravel()
        shown = np.asarray((values > 0).sum(0)).ravel() >= _FEWEST_CELLS
        total[shown] += (square - mean**2)[shown]
        measured[shown] += 1
        moments.append((mean, square - mean**2, shown))
    # Of cells that are all alike rounding can leave less than 0.
    variance = np.maximum(total / np.maximum(measured, 1), np.where(measured > 0, 0, -1))
    varied = int((variance > _LEAST_VARIANCE).sum())
    if varied < FEWEST:
        raise InputError(
            f"the cells differ in {varied} genes that {_FEWEST_CELLS} cells of a file or more show, and a "
            f"fit needs {FEWEST}; give more cells"
        )
    rows = np.sort(np.argsort(-variance, kind="stable")[: min(most, int((measured > 0).sum()))])
    sets = []
    for number, (one, (mean, spread, shown)) in enumerate(zip(samples, moments, strict=True)):
        genes = np.flatnonzero(shown[rows])
        if not len(genes):
            continue
        file = folder / f"values{number}.npz"
        values = one.logs(fractions)[:, rows[genes]].astype(np.float64)
        # Read once a round: unpacking would take longer than reading.
        save_npz(file, values, compressed=False)
        columns = rows[genes]
        sets.append(FactorSet(partial(load_npz, file), genes, mean[columns], spread[columns]))
    return rows, sets


def _scales(model: CellFactors, samples: Sequence[_Sample]) -> tuple[float, float]:
    """Root mean squares of the lengths of factors and text vectors about the mean of their set."""
    width = model.loadings.shape[1]
    squares, cells = np.zeros(2), 0
    for one in samples:
        # Such a set has no vectors; the scales are those of the sets that have.
        if len(np.intersect1d(one.panel, model.rows)) < FEWEST:
            continue
        vectors = model.embed(one.block(), one.match, EmbedOptions()).astype(np.float64)
        vectors -= vectors.mean(0)
        cells += len(vectors)
        squares += (vectors[:, :width] ** 2).sum(), (vectors[:, width:] ** 2).sum()
    if not cells:
        raise InputError(
            f"no file measures {FEWEST} of the {len(model.rows):,} genes that vary most; allow more genes "
            "(`genes`), or give files that measure more"
        )
    first, second = np.sqrt(squares / cells)
    return float(first), float(second) / cellfactors.TEXT_SHARE
