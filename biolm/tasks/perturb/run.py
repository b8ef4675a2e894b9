"""In-silico perturbation: which genes move cells, and which move them toward a state.

Dimensions: ``n`` cells · ``e`` edits · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.errors import InputError
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellBlock, CellSource
from biolm.io.gene_list import read_gene_list
from biolm.io.provenance import plain
from biolm.jobs.bind import loaded
from biolm.jobs.cells import CellEmbedding, prepare
from biolm.jobs.embedding import embed_options
from biolm.jobs.job import block_ends
from biolm.jobs.precision import for_scores
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.models.model import CellModel
from biolm.options import check_needs, read_options
from biolm.progress import log, progress
from biolm.scoring.rates import adjusted
from biolm.tasks.perturb.controls import MatchedGenes
from biolm.tasks.perturb.edits import Edit, FileGenes, plan_edits
from biolm.tasks.perturb.figures import bootstrap_interval, means
from biolm.tasks.perturb.goal import GoalState, chosen_cells, goal_state
from biolm.tasks.perturb.measure import CELLS, Shifts, cell_blocks, gathered, mean_shares, measure
from biolm.tasks.perturb.settings import PerturbSettings
from biolm.tasks.perturb.significance import goal_p, matched_p, paired_p, percentiles

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["Perturbation", "Plan", "Wanted", "perturb"]

_ALL = "all"


@dataclass(frozen=True, slots=True, eq=False)
class Perturbation:
    """What a perturbation found.

    Parameters
    ----------
    columns
        The table by edit, largest effect first; columns ``(e,)``.
    cells
        ``(n,)`` row numbers of the perturbed cells.
    shifts
        Every cell and edit, ``(n, e)`` in the order of the table.
    provenance
        Provenance.
    """

    columns: dict[str, NDArray[Any]]
    cells: NDArray[np.int64]
    shifts: Shifts
    provenance: dict[str, Any]

    def frame(self) -> pd.DataFrame:
        """The table as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.columns)


def perturb(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel = DEFAULT_MODEL,
    delete: Sequence[str] = (),
    overexpress: Sequence[str] = (),
    genes: str | Path | Sequence[str] = (),
    output: str | Path | None = None,
    **options: Any,
) -> Perturbation:
    """Delete or over-express genes in cells and measure how far the cells' vectors move.

    Parameters
    ----------
    data
        An AnnData, or the path of an h5ad, zarr, loom, 10x or csv table.
    model
        Built-in name, folder of a checkpoint, hub id, or a loaded model.
    delete, overexpress
        Genes, as the file names them or by any name that can be resolved.
    genes
        More genes, a file of names, or ``all``; changed as the option ``how`` says.
    output
        Also write the table: ``.parquet``, ``.csv`` or ``.tsv``.
    options
        See :class:`~biolm.tasks.perturb.settings.PerturbSettings`.

    Returns
    -------
    A table with one row an edit. ``shift`` is 1 - cosine between a cell before and after, ``goal_shift`` the
    gain of its cosine to the goal state (as Geneformer defines them: Theodoris et al. 2023); means over the
    cells in which the edit changes something, with 95 % bootstrap intervals over cells. ``*_control`` is the
    same for random genes of like expression in the same cells, ``percentile`` the place among them and
    ``p_paired`` a rank test within the cells. The gene is the unit of ``p_value``: with a goal the labels of
    its state are permuted, without one the gene is placed among the random ones. ``fdr`` is adjusted over the
    table.

    Raises
    ------
    BiolmError
        If a gene, state, file, model or output cannot be used, with the reason and what to do.

    Examples
    --------
    >>> cells = "data/cells/pbmc_cite_10k.h5ad"
    >>> found = perturb(cells, delete=["CD3E", "MS4A1"], cells=50)
    >>> sorted(found.columns["gene"].tolist())
    ['CD3E', 'MS4A1']
    """
    settings: PerturbSettings = read_options(PerturbSettings, options, "perturb")
    check_needs(settings, genes=genes)
    wanted = Wanted(
        tuple(delete), tuple(overexpress), genes if isinstance(genes, str | Path) else tuple(genes)
    )
    if output is None:
        settings.check_in_memory()
        with open_table(data, matrix=settings.matrix) as source:
            plan = Plan.of(source, data, loaded(model), wanted, settings)
            with progress("perturbing", len(plan.rows), show=settings.progress) as advance:
                parts = []
                for block in plan.blocks(0, len(plan.ends) - 1):
                    parts.append(plan.compute(block))
                    advance(len(block))
            return plan.table(gathered(parts))
    from biolm.tasks.perturb.file import perturb_file

    return perturb_file(data, Path(output), model, wanted, settings)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which genes are to be changed; see :func:`biolm.perturb`."""

    delete: tuple[str, ...]
    overexpress: tuple[str, ...]
    genes: str | Path | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cells, a model and edits that fit each other.

    Parameters
    ----------
    job
        Cells and model.
    settings
        The user's choices.
    known
        The genes of the file.
    edits
        What is changed.
    every
        Whether all genes are screened.
    rows
        ``(n,)`` cells that are perturbed.
    goal
        The goal state; None without one.
    matched
        Draws random genes.
    """

    job: CellEmbedding
    settings: PerturbSettings
    known: FileGenes
    edits: Sequence[Edit]
    every: bool
    rows: NDArray[np.int64]
    goal: GoalState | None
    matched: MatchedGenes

    @classmethod
    def of(
        cls, source: CellSource, data: Any, model: CellModel, wanted: Wanted, settings: PerturbSettings
    ) -> Plan:
        """Match genes, choose cells and edits, embed the goal state.

        Parameters
        ----------
        source, data
            The open cells, and what they were opened from.
        model
            The loaded model.
        wanted
            Which genes.
        settings
            The user's choices.

        Raises
        ------
        BiolmError
            If a gene or state cannot be used.
        """
        # Shifts of one gene are small; bfloat16 would round them away.
        settings = replace(settings, precision=for_scores(settings.precision))
        listed, every = _listed(wanted.genes)
        job = prepare(source, model, settings, lambda name: open_table(data, matrix=name))
        known = FileGenes(source.gene_columns(), job.match, model.vocabulary)
        edits = plan_edits(
            known,
            delete=wanted.delete,
            overexpress=wanted.overexpress,
            listed=listed,
            every=every,
            how=settings.how,
            combine=settings.combine,
        )
        rows = chosen_cells(source, settings)
        goal = goal_state(job, settings, embed_options(settings), rows)
        # Over the cells that are perturbed, among which controls are to be alike.
        shares = mean_shares(source, rows, job.match, len(model.vocabulary))
        matched = MatchedGenes(known.rows, shares, settings.seed)
        return cls(
            job=job,
            settings=settings,
            known=known,
            edits=edits,
            every=every,
            rows=rows,
            goal=goal,
            matched=matched,
        )

    @property
    def ends(self) -> NDArray[np.int64]:
        """Cells at which blocks begin and end."""
        return block_ends(len(self.rows), CELLS)

    def blocks(self, first: int, last: int) -> Iterator[CellBlock]:
        """The blocks ``first`` to ``last`` of the chosen cells."""
        return cell_blocks(self.job.source, self.rows, first, last)

    def compute(self, block: CellBlock) -> dict[str, NDArray[Any]]:
        """What every edit does in every cell of a block."""
        return measure(
            block,
            self.edits,
            model=self.job.model,
            match=self.job.match,
            options=embed_options(self.settings),
            goal=None if self.goal is None else self.goal.mean,
            matched=self.matched,
            controls=self.settings.controls,
        )

    def table(self, shifts: Shifts) -> Perturbation:
        """The result from the shifts of all cells."""
        least = self.settings.minimum_cells if self.every else 1
        given = (self.edits, self.known, self.job, self.settings, self.rows, self.goal)
        return _table(shifts, *given, least=least)

    @property
    def provenance(self) -> dict[str, Any]:
        """How shifts are measured."""
        return _provenance(self.job, self.settings, len(self.rows), len(self.edits))


def _listed(genes: str | Path | Sequence[str]) -> tuple[list[str], bool]:
    """Named genes, and whether all are meant."""
    if isinstance(genes, str) and genes == _ALL:
        return [], True
    if not isinstance(genes, str | Path):
        return list(genes), False
    return read_gene_list(genes), False


def _table(
    shifts: Shifts,
    edits: Sequence[Edit],
    known: FileGenes,
    job: CellEmbedding,
    settings: PerturbSettings,
    rows: NDArray[np.int64],
    goal: GoalState | None,
    *,
    least: int,
) -> Perturbation:
    """One row an edit, largest effect first."""
    changed = np.isfinite(shifts.shift).sum(0)
    kept = np.flatnonzero(changed >= least)
    if not len(kept):
        names = ", ".join(known.title(edit) for edit in edits[:3])
        raise InputError(
            f"none of the {len(rows)} cells expresses {names}{' ...' if len(edits) > 3 else ''}, so nothing "
            "can be deleted; choose other genes or cells"
        )
    absent = [known.title(edit) for edit, count in zip(edits, changed, strict=True) if not count]
    if absent and least == 1:
        log.warning("expressed in none of the cells: %s", ", ".join(absent[:10]))
    main = shifts.shift if goal is None else shifts.goal
    # NaN last; stable, so that equal effects keep the order in which genes were named.
    order = kept[np.argsort(-np.nan_to_num(means(main[:, kept]), nan=-np.inf), kind="stable")]
    taken = shifts.take(order)
    chosen = [edits[place] for place in order]
    columns: dict[str, NDArray[Any]] = {
        "gene": np.array([known.title(edit) for edit in chosen]),
        "id": np.array([" ".join(known.identifier(row) for row in edit.genes) for edit in chosen]),
        "edit": np.array([edit.kind for edit in chosen]),
        "cells": changed[order],
    }
    measured = [("shift", taken.shift, taken.shift_control)]
    if goal is not None:
        measured.append(("goal_shift", taken.goal, taken.goal_control))
    for name, values, controls in measured:
        columns[name] = means(values)
        columns[f"{name}_low"], columns[f"{name}_high"] = bootstrap_interval(values, settings.seed)
        columns[f"{name}_control"] = means(controls)
    below = taken.shift_below if goal is None else taken.goal_below
    columns["percentile"] = percentiles(below, taken.drawn)
    columns["p_paired"] = paired_p(below, taken.drawn)
    if goal is None:
        columns["p_value"] = matched_p(below, taken.drawn)
    else:
        columns["p_value"] = goal_p(taken.moved, goal.cells, goal.goals, seed=settings.seed)
    columns["fdr"] = adjusted(columns["p_value"])
    return Perturbation(columns, rows, taken, _provenance(job, settings, len(rows), len(edits)))


def _provenance(job: CellEmbedding, settings: PerturbSettings, cells: int, edits: int) -> dict[str, Any]:
    names = (
        "combine",
        "how",
        "goal_key",
        "start",
        "goal",
        "minimum_cells",
        "controls",
        "seed",
        "hidden_state",
        "precision",
    )
    metadata: dict[str, Any] = plain(
        {
            "biolm_version": biolm.__version__,
            "model": job.model.name,
            "checkpoint": job.facts,
            "genes": job.match.report.as_dict(),
            "matrix": job.source.matrix,
            "cells": cells,
            "edits": edits,
            "pool": settings.pool or (job.model.pools[0] if job.model.pools else None),
            "parameters": {name: getattr(settings, name) for name in names},
        }
    )
    return metadata
