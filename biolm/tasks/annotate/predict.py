"""Name the cells of a query: classes, calibrated confidence, probabilities, unknown cells.

Dimensions: ``n`` cells · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.errors import ConfigError, GeneMatchError
from biolm.io.anndata.columns import CellAdditions
from biolm.io.cell_tables import open_table
from biolm.io.cells import CellBlock, CellSource
from biolm.io.provenance import plain
from biolm.jobs.cells import CellEmbedding, prepare
from biolm.models.model import CellModel
from biolm.options import read_options, refuse_unused
from biolm.progress import log
from biolm.tasks.annotate.annotator import Annotator, Head, default_key, load_annotator
from biolm.tasks.annotate.calls import Calls, Judged
from biolm.tasks.annotate.expression import ExpressionSpace
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.names import refuse_unknown
from biolm.tasks.annotate.ontology import read_ontology
from biolm.tasks.annotate.settings import PredictSettings
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Annotation", "additions", "judged", "keys", "predict", "rolled"]

# With fewer of the training genes than this, the user should know.
_FEW = 0.5
# Share of the training counts whose genes a query needs for distances to mean the same there.
_ENOUGH = 0.7


def predict(
    data: str | Path | AnnData,
    annotator: str | Path | Annotator,
    *,
    model: str | Path | CellModel | None = None,
    key: str | None = None,
    copy: bool = False,
    **options: Any,
) -> AnnData:
    """Name cells.

    Parameters
    ----------
    data
        A path or an AnnData with raw counts, of any genes in any order and by any identifier.
    annotator
        A folder of ``biolm annotate fit``, or what :func:`biolm.annotate.fit` returned.
    model
        The annotator's model, where it is no longer where it was.
    key
        Name of the result; ``biolm_<label>`` by default.
    copy
        For an AnnData: leave it as it is and return a copy.
    options
        See :class:`biolm.tasks.annotate.settings.PredictSettings`.

    Returns
    -------
    The AnnData with categorical ``obs[key]``, ``obs[key + "_confidence"]``,
    ``obsm[key + "_probabilities"]`` and ``uns["biolm"][key]``, which names the classes.

    Raises
    ------
    BiolmError
        If the cells or the annotator cannot be used.

    Examples
    --------
    >>> from biolm import annotate
    >>> cells = "data/cells/pbmc_cite_10k.h5ad"
    >>> annotator = annotate.fit(cells, label="cell_type", leave_out=("other",))
    >>> adata = annotate.predict("data/cells/pbmc68k_reduced_counts_700.h5ad", annotator)
    >>> "biolm_cell_type_confidence" in adata.obs
    True
    """
    from biolm.jobs.cells import whole_table

    settings: PredictSettings = read_options(PredictSettings, {"key": key, **options}, "annotate predict")
    settings.check_in_memory()
    refuse_unused(settings, "cells")
    used = annotator if isinstance(annotator, Annotator) else load_annotator(annotator, model)
    with open_table(data, matrix=settings.matrix) as source:
        adata = whole_table(source) if isinstance(data, str | Path) else data
        added = _additions(source, used, settings)
        added.check_free(adata.obs, adata.uns.get("biolm", {}), overwrite=settings.overwrite)
    adata = adata.copy() if copy else adata
    added.attach(adata)
    return adata


def keys(annotator: Annotator, settings: PredictSettings) -> list[str]:
    """Name of each head's result.

    Raises
    ------
    ConfigError
        If a result would be named ``cell_type``, which is kept for what was measured.
    """
    names = [default_key(head.label) for head in annotator.heads]
    if settings.key is not None:
        names[0] = settings.key
    if "cell_type" in names:
        raise ConfigError("cell_type is kept for labels that people gave; choose another key (`key`)")
    return names


@dataclass(frozen=True)
class Annotation:
    """Cells, model and annotator that fit each other.

    Parameters
    ----------
    job
        Cells and model.
    space
        The expression space of the training cells.
    match
        Where the query's genes lie in it; None where it is not read.
    heads
        The annotator's heads, made to do with the genes of the query.
    """

    job: CellEmbedding
    space: ExpressionSpace
    match: GeneMatch | None
    heads: list[Head]

    @classmethod
    def of(cls, source: CellSource, annotator: Annotator, settings: PredictSettings) -> Annotation:
        """Check that they fit, before any work."""
        job = prepare(source, annotator.model, _with_embedding(settings, annotator))
        match, heads = _heads(annotator, source, settings)
        return cls(job, annotator.space, match, heads)

    def compute(self, block: CellBlock) -> dict[str, NDArray[Any]]:
        """Of one block: calibrated probabilities of every head, cells far from training, empty cells."""
        vectors = self.job.compute(block)["vectors"]
        table = None if self.match is None else self.space.table(block, self.match)
        found: dict[str, NDArray[Any]] = {
            f"head{number}": head.frozen.probabilities(vectors, table).astype(np.float32)
            for number, head in enumerate(self.heads)
        }
        # A cell without counts has a vector of zeros.
        empty = ~np.asarray(vectors.any(1), bool)
        for probabilities in found.values():
            probabilities[empty] = np.nan  # what a head makes of nothing is no measurement
        found["empty"] = empty
        found["strange"] = np.stack(
            [head.frozen.strangeness(vectors, table) > 1 for head in self.heads], axis=1
        )
        return found


def judged(source: CellSource, annotator: Annotator, settings: PredictSettings) -> Judged:
    """Calibrated probabilities of every head, and which cells are strange or hold no counts."""
    work = Annotation.of(source, annotator, settings)
    parts = [work.compute(block) for block in work.job.blocks(0, len(work.job.ends) - 1)]
    return Judged.of_parts(annotator, parts)


def additions(
    annotator: Annotator,
    settings: PredictSettings,
    found: Judged,
    coarse: Mapping[str, str],
) -> CellAdditions:
    """What enters the table of cells, from what every head says; ``coarse`` names classes of the first."""
    columns: dict[str, Any] = {}
    matrices: dict[str, Any] = {}
    records: dict[str, Any] = {}
    names = keys(annotator, settings)
    for place, (key, head, whole) in enumerate(zip(names, annotator.heads, found.probabilities, strict=True)):
        low = whole.max(1) < head.frozen.threshold
        strange = found.empty | (found.strange[:, place] & settings.reject)
        called = Calls(key, head, whole, strange | (low & settings.reject), strange)
        if coarse and not columns:
            columns[f"{key}_coarse"] = called.rolled(coarse)
        added = called.additions(_record(annotator, called))
        columns |= added.columns
        matrices |= added.matrices
        records |= added.records
    return CellAdditions(columns=columns, matrices=matrices, records=records)


def _additions(source: CellSource, annotator: Annotator, settings: PredictSettings) -> CellAdditions:
    # A bad key or ontology is noticed before the work.
    keys(annotator, settings)
    coarse = rolled(annotator, settings)
    return additions(annotator, settings, judged(source, annotator, settings), coarse)


def rolled(annotator: Annotator, settings: PredictSettings) -> dict[str, str]:
    """Coarse name of each class of the first head; empty where none was asked for."""
    if settings.ontology is None:
        return {}
    names = read_ontology(settings.ontology).roll_up(annotator.heads[0].classes, settings.coarse)
    refuse_unknown(names.values(), f"the ontology {settings.ontology}")
    return names


def _with_embedding(settings: PredictSettings, annotator: Annotator) -> PredictSettings:
    """The settings with what the annotator's vectors were made with."""
    fitted: dict[str, Any] = {"match": "resolve", **annotator.embedding}
    if settings.match not in ("resolve", fitted["match"]):
        raise ConfigError(
            f"the annotator was fitted with `match={fitted['match']!r}`; leave `match={settings.match!r}` "
            "out, or fit it again with that"
        )
    return replace(settings, **fitted)


def _heads(
    annotator: Annotator, source: CellSource, settings: PredictSettings
) -> tuple[GeneMatch | None, list[Head]]:
    """Where the query's genes lie among those of the training cells, and heads that make do with them.

    Raises
    ------
    GeneMatchError
        If the query shares too few genes with the training cells.
    """
    if not annotator.reads_genes:
        return None, list(annotator.heads)
    space = annotator.space
    try:
        match = space.vocabulary.match(
            source.gene_columns(),
            column=settings.gene_column,
            minimum=settings.minimum_match,
            species=settings.species,
        )
    except GeneMatchError as error:
        raise GeneMatchError(
            f"the query shares too few genes with the cells that the annotator was fitted on: {error}"
        ) from error
    present = space.present(match)
    held = float(space.share[present].sum())
    if held < _ENOUGH:
        log.warning(
            "the query's genes make up %.0f %% of the counts of the training cells; too few to tell strange "
            "cells by their distance, so only uncertain ones are unknown",
            100 * held,
        )
    if present.mean() < _FEW:
        log.warning(
            "the query holds %.0f %% of the %s genes of the training cells; the others are estimated",
            100 * present.mean(),
            f"{len(present):,}",
        )
    return match, [_lacking(head, present, space, held >= _ENOUGH) for head in annotator.heads]


def _lacking(head: Head, present: NDArray[np.bool_], space: ExpressionSpace, distant: bool) -> Head:
    """The head for a query without some genes; ``distant`` where distances can still be told."""
    if present.all():
        return head
    scorer, distance = head.frozen.scorer, head.frozen.distance if distant else None
    if isinstance(scorer, LinearMap) and scorer.reads_genes:
        genes, bias = space.without(present, scorer.genes)
        scorer = LinearMap(scorer.vectors, genes, scorer.bias + bias)
    if distance is not None:
        distance = distance.without(present, space)
    return replace(head, frozen=replace(head.frozen, scorer=scorer, distance=distance))


def _record(annotator: Annotator, called: Calls) -> dict[str, Any]:
    """Where the names come from, as plain facts."""
    head = called.head
    record: dict[str, Any] = plain(
        {
            "annotator": annotator.facts,
            "model": annotator.reference["facts"],
            "label": head.label,
            "biolm_version": biolm.__version__,
            "temperature": head.frozen.temperature,
            "threshold": head.frozen.threshold,
            "unknown_cells": int(called.unknown.sum()),
            "held_out": head.report.get("held_out"),
        }
    )
    return record
