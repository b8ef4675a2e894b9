"""Impute genes that a file does not measure: in memory, or a file block by block.

Dimensions: ``n`` cells of a block · ``m`` imputed genes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from biolm.io.anndata.result import endings_of, format_of
from biolm.io.anndata.rows import Rows, rows_to_anndata, write_new
from biolm.io.anndata.vectors import CellVectors
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellBlock, CellSource
from biolm.io.provenance import digest, plain
from biolm.jobs.bind import loaded
from biolm.jobs.cells import CellEmbedding, cells_of_shards, empty_cells, input_facts, prepare
from biolm.jobs.embedding import provenance_of
from biolm.jobs.job import Job, block_ends, check_outputs, made_from, watched
from biolm.jobs.merging import Merging
from biolm.jobs.spool import Parts
from biolm.models.model import CellModel, Imputer
from biolm.options import read_options
from biolm.progress import log, progress
from biolm.tasks.impute.genes import ALL, UNMEASURED, chosen_genes, gene_rows
from biolm.tasks.impute.settings import ImputeSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Plan", "impute", "impute_file", "merge_imputed"]

KIND = "imputed"
KEY = "imputed"
FORMATS = ("h5ad", "zarr", "npy")
# Imputed values in memory at a time.
_VALUES = 2**24


@overload
def impute(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel = ...,
    genes: str | Path | Sequence[str] = ...,
    output: None = ...,
    **options: Any,
) -> AnnData: ...


@overload
def impute(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel = ...,
    genes: str | Path | Sequence[str] = ...,
    output: str | Path,
    **options: Any,
) -> Path: ...


def impute(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel = "cellfactors",
    genes: str | Path | Sequence[str] = UNMEASURED,
    output: str | Path | None = None,
    **options: Any,
) -> AnnData | Path:
    """Impute genes that a gene panel does not measure, from those that it does.

    Parameters
    ----------
    data
        An AnnData, or the path of an h5ad, zarr, loom, 10x or csv table of counts.
    model
        One that imputes: ``cellfactors``, a folder of ``biolm fit-factors``, or the loaded model.
    genes
        Names of genes, a file of them, ``unmeasured`` (those the model knows and the file lacks) or ``all``
        (also the measured ones, whose values are then smoothed).
    output
        Stream to this ``.h5ad``, ``.zarr`` or ``.npy`` instead of returning an AnnData; memory is then
        bounded by the block.
    options
        See :class:`~biolm.tasks.impute.settings.ImputeSettings`.

    Returns
    -------
    A new AnnData of the cells and the imputed genes, or the path of ``output``. ``X`` is float32
    ``(n_obs, m)``, the posterior mean of log(1 + counts in 10,000 counts of all genes). ``var`` holds the
    model's id of each gene (``id``), whether the file measures it, the posterior variance, and the r² to
    expect (``expected_r2``); ``uns["biolm"]["imputed"]`` how it was made; ``obs`` is that of the input, with
    ``imputed_empty`` where cells hold no counts: these have the model's means.

    Raises
    ------
    BiolmError
        If data, model, a gene or the output cannot be used, with the reason and what to do.

    Examples
    --------
    >>> imputed = impute("data/cells/pbmc68k_reduced_counts_700.h5ad", genes=["TCL1A", "CD3D"])
    >>> imputed.shape, imputed.var["measured"].tolist()
    ((700, 2), [False, True])
    """
    settings: ImputeSettings = read_options(ImputeSettings, options, "impute")
    if output is not None:
        return impute_file(data, Path(output), model, genes, settings)
    settings.check_in_memory()
    with open_table(data, matrix=settings.matrix) as source:
        plan = Plan.of(source, loaded(model), genes, settings)
        values = np.empty((source.n_cells, len(plan.places)), np.float32)
        empty = np.zeros(source.n_cells, bool)
        with progress("imputing", source.n_cells, show=settings.progress, unit="cells") as advance:
            for block in plan.blocks(0, len(plan.ends) - 1):
                span = slice(block.start, block.start + len(block))
                part = plan.compute(block)
                values[span], empty[span] = part["values"], part["empty"]
                advance(len(block))
        return rows_to_anndata(_cells(source), _result(values, empty, plan.provenance()), plan.genes)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cells, a model and genes that fit each other.

    Parameters
    ----------
    job
        Cells and model.
    imputer
        What the model imputes for the file.
    places
        ``(m,)`` genes among those.
    genes
        What they are.
    asked
        ``unmeasured``, ``all`` or ``named``.
    """

    job: CellEmbedding
    imputer: Imputer
    places: NDArray[np.int64]
    genes: Rows
    asked: str

    @classmethod
    def of(
        cls,
        source: CellSource,
        model: CellModel,
        genes: str | Path | Sequence[str],
        settings: ImputeSettings,
    ) -> Plan:
        """Match the genes of the file and choose those to impute.

        Parameters
        ----------
        source
            The open cells.
        model
            The loaded model.
        genes
            As for :func:`impute`.
        settings
            The user's choices.

        Raises
        ------
        BiolmError
            If the model imputes nothing, or not these genes from this file.
        """
        job = prepare(source, model, settings)
        imputer = model.imputer(job.match)
        places, names = chosen_genes(model, imputer, job.match.report.species, genes)
        measured = int(imputer.measured[places].sum())
        if measured:
            log.warning(
                "the file measures %d of the %d genes: their values are smoothed, not imputed",
                measured,
                len(places),
            )
        word = genes if isinstance(genes, str) and genes in (UNMEASURED, ALL) else "named"
        return cls(
            job=job,
            imputer=imputer,
            places=places,
            genes=gene_rows(model, imputer, places, names),
            asked=word,
        )

    @property
    def step(self) -> int:
        """Cells of a block."""
        # A result is far wider than the counts it is made from, so blocks shrink with the genes asked for.
        most = max(1, _VALUES // len(self.places))
        return self.job.settings.block_rows or min(self.job.model.block_rows, most)

    @property
    def ends(self) -> NDArray[np.int64]:
        """Cells at which blocks begin and end."""
        return block_ends(self.job.source.n_cells, self.step)

    def blocks(self, first: int, last: int) -> Iterator[CellBlock]:
        """The blocks ``first`` to ``last``."""
        from biolm.adapters.cells.counts import check_block

        source = self.job.source
        for block in source.blocks(self.step, first * self.step, min(last * self.step, source.n_cells)):
            check_block(block)
            yield block

    def compute(self, block: CellBlock) -> dict[str, NDArray[Any]]:
        """``values`` ``(n, m)`` of one block, and which cells are ``empty``."""
        values, empty = self.imputer.values(block, self.places), empty_cells(block, self.job.match)
        # The posterior without evidence; computed from zeros it would say that every gene is off.
        values[empty] = self.imputer.prior(self.places)
        return {"values": values, "empty": empty}

    def provenance(self) -> dict[str, Any]:
        """How the values are made."""
        job, chosen = self.job, self.job.settings
        names = ("allow_normalised", "minimum_match", "species")
        return provenance_of(
            job.model,
            job.facts,
            {"genes": self.asked} | {name: getattr(chosen, name) for name in names},
            genes=job.match.report.as_dict(),
            matrix=job.source.matrix,
            panel=job.panel or None,
            cells=job.source.n_cells,
            imputed=len(self.places),
            unit=self.imputer.unit,
        )


def impute_file(
    data: str | Path | AnnData,
    target: Path,
    model: str | Path | CellModel,
    genes: str | Path | Sequence[str],
    settings: ImputeSettings,
) -> Path:
    """Impute genes of a file block by block into a new table, or a shard of its cells into a folder.

    Parameters
    ----------
    data, model, genes
        As for :func:`impute`.
    target
        ``.h5ad``, ``.zarr`` or ``.npy`` (with a JSON file of names beside it); a folder for a shard.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        If input, model, a gene or the output cannot be used; nothing half-written is left.
    """
    form = "shard" if settings.shard else format_of(target, settings.format, FORMATS)
    check_outputs(target, endings_of(target, form, FORMATS), settings)
    with open_table(data, matrix=settings.matrix) as source:
        plan = Plan.of(source, loaded(model), genes, settings)
        provenance = plan.provenance()

        def finish(parts: Parts, temporary: Path) -> None:
            _write(temporary, form, source, parts, provenance, plan.genes)

        Job(
            kind=KIND,
            same={
                "input": input_facts(source),
                "model": plan.job.facts,
                "options": {"step": plan.step, "gene_column": plan.job.match.report.column},
                # Genes named by a file or by `unmeasured` make the same job if they are the same genes.
                "genes": digest({"names": plan.genes.index, "ids": plan.genes.columns["id"]}),
                "provenance": provenance,
            },
            facts={
                "input": made_from(data),
                "matrix": source.matrix,
                "genes": {
                    # With their types: JSON would give integers and floats back as Python's.
                    name: {"type": values.dtype.str, "values": values.tolist()}
                    for name, values in {"": plan.genes.index, **plan.genes.columns}.items()
                },
            },
            inputs=watched(source),
            ends=plan.ends,
            blocks=plan.blocks,
            compute=plan.compute,
            finish=finish,
            # Twice the float32 of the values: once in the parts, once in the result.
            size=8 * source.n_cells * len(plan.places),
            label="imputing",
            unit="cells",
        ).run(target, settings)
    return target


def merge_imputed(merging: Merging) -> int:
    """Write the genes of all shards as the whole job would; how many cells there are.

    Raises
    ------
    InputError
        If the cells changed.
    """
    form = format_of(merging.target, merging.form, FORMATS)
    endings = endings_of(merging.target, form, FORMATS)
    check_outputs(merging.target, endings, ImputeSettings(overwrite=True))
    columns = {
        name: np.array(column["values"], np.dtype(column["type"]))
        for name, column in merging.facts["genes"].items()
    }
    names = columns.pop("")
    beside = {"genes": names.tolist(), "gene_columns": {name: v.tolist() for name, v in columns.items()}}
    genes = Rows(index=names, columns=columns, beside=beside)
    with cells_of_shards(merging, merging.facts["matrix"]) as source:
        provenance = merging.job["provenance"]
        merging.write(lambda path: _write(path, form, source, merging.parts, provenance, genes))
        return source.n_cells


def _write(
    target: Path, form: str, source: CellSource, parts: Parts, provenance: dict[str, Any], genes: Rows
) -> None:
    result = _result(parts.joined("values"), parts.joined("empty"), provenance)
    cells = _cells(source, beside=genes.beside)
    write_new(target, form, cells, result, genes)


def _result(values: NDArray[np.float32], empty: NDArray[np.bool_], provenance: dict[str, Any]) -> CellVectors:
    if empty.any():
        log.warning("%d cells hold no counts in genes of the model; they get its means", empty.sum())
    record = plain({**provenance, "empty_cells": int(empty.sum())})
    return CellVectors(key=KEY, vectors=values, empty=empty, provenance=record, genes=True)


def _cells(source: CellSource, beside: Any = None) -> Rows:
    """The cells of the result, with the columns of the input."""
    columns = {name: source.obs_column(name) for name in source.obs_columns()}
    return Rows(index=source.cell_names(), columns=columns, beside=beside or {})
