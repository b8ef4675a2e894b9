"""Whether a file and a model fit each other: names of cells, genes, and what the numbers are.

Dimensions: ``g`` genes of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, GeneMatchError
from biolm.io.cells import CellSource, duplicated_names
from biolm.jobs.modality import loaded_for
from biolm.jobs.settings import ReadingSettings
from biolm.models.model import CellModel
from biolm.progress import log
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule, published_match

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["KnowsGenes", "bind_genes", "loaded", "match_genes", "sequence_model"]

_TURNED = 0.3  # fraction of cell names that are genes from which a table must lie the other way


class KnowsGenes(Protocol):
    """What a model must tell to be fitted to a file."""

    @property
    def name(self) -> str:
        """Names the model in messages."""
        ...

    @property
    def vocabulary(self) -> GeneVocabulary:
        """The genes it knows."""
        ...

    @property
    def wants_counts(self) -> bool:
        """Whether it was defined on raw counts."""
        ...


def bind_genes(
    source: CellSource,
    model: KnowsGenes,
    settings: ReadingSettings,
    reopen: Callable[[str], CellSource] | None = None,
) -> GeneMatch:
    """Match genes and check the numbers, before any work.

    Cells that share a name are kept, with a warning: rows are identified by their order. ``reopen`` opens
    another matrix of data in memory, so that a refusal can name one that would do.

    Parameters
    ----------
    source
        The open cells.
    model
        Knows the genes.
    settings
        Choices of the job.
    reopen
        Opens another matrix of data in memory, so that a refusal can name one that would do.

    Returns
    -------
    Where each of the ``g`` gene columns goes.

    Raises
    ------
    InputError
        If the values are not what the model was defined on.
    GeneMatchError
        If too few genes are known to the model.
    """
    from biolm.adapters.cells.counts import check_counts

    repeated = duplicated_names(source.cell_names())
    for note in source.notes:
        log.warning("%s", note)
    if repeated:
        log.warning("%d cell names repeat an earlier one; rows are kept in input order", repeated)
    match = match_genes(source, model, settings)
    _report(match)
    # Absolute and not a fraction: a small panel may be known whole and still say too little.
    least = getattr(model, "least_genes", 0)
    if match.report.vocabulary_found < least:
        raise GeneMatchError(
            f"the file holds {match.report.vocabulary_found:,} of the {len(model.vocabulary):,} genes of "
            f"{model.name}, which needs {least:,}; give cells with more genes measured, or another model"
        )
    read_context = getattr(getattr(model, "preprocessor", model), "read_context", None)
    if read_context is not None:
        read_context(source)
    if model.wants_counts:
        check_counts(source, allow_normalised=settings.allow_normalised, reopen=reopen)
    return match


def match_genes(source: CellSource, model: KnowsGenes, settings: ReadingSettings) -> GeneMatch:
    """Where the genes of a file lie in a model's vocabulary, by the rule that the settings name.

    Parameters
    ----------
    source
        The open cells.
    model
        Knows the genes.
    settings
        Choices of the job.

    Raises
    ------
    ConfigError
        If the model's own rule is asked for and it has none.
    InputError, GeneMatchError
        If genes cannot be found; a table that lies the other way is named.
    """

    def match(columns: dict[str, NDArray[np.str_]], column: str | None) -> GeneMatch:
        return model.vocabulary.match(
            columns, column=column, minimum=settings.minimum_match, species=settings.species
        )

    if settings.match == "published":
        return published_match(
            model.vocabulary,
            _published_rule(model, settings),
            source.gene_columns(),
            column=settings.gene_column,
            minimum=settings.minimum_match,
        )
    try:
        return match(source.gene_columns(), settings.gene_column)
    except GeneMatchError:
        try:
            report = match({"index": source.cell_names()}, None).report
        except GeneMatchError:
            report = None
        # A few names of cells may look like genes by chance.
        if report is None or report.share < _TURNED:
            raise
        way = (
            ("leave out `transpose=True`" if settings.transpose else "read it with `transpose=True`")
            if source.kind in ("table", "10x-mtx")
            else "write it as cells x genes first, as with adata.T"
        )
        raise GeneMatchError(
            f"{source.path or 'the AnnData'} is genes x cells: {report.matched:,} of its {report.total:,} "
            f"cell names are genes; {way}"
        ) from None


def _published_rule(model: KnowsGenes, settings: ReadingSettings) -> PublishedRule:
    rule: PublishedRule | None = getattr(getattr(model, "preprocessor", model), "published", None)
    if rule is None:
        raise ConfigError(
            f"model {model.name} finds genes by the names that biolm resolves and has no other rule; leave "
            "`match='published'` out"
        )
    # The rule looks names up as they stand; a species could not change what it finds.
    if settings.species is not None:
        raise ConfigError("`match='published'` asks for no species; leave `species` out")
    return rule


def loaded(model: str | Path | CellModel | SequenceModel) -> CellModel:
    """The model of cells itself, or the one of that name or folder.

    Raises
    ------
    ConfigError
        If it reads no cells.
    """
    reader: CellModel = loaded_for("cells", model)
    return reader


def sequence_model(model: str | Path | CellModel | SequenceModel) -> SequenceModel:
    """The model of sequences itself, or the one of that name or folder.

    Raises
    ------
    ConfigError
        If it reads no sequences.
    """
    reader: SequenceModel = loaded_for("sequences", model)
    return reader


def _report(match: GeneMatch) -> None:
    """Log how the genes were found."""
    report = match.report
    others = {
        "without version": report.via_version,
        "by symbol": report.via_symbol,
        "by alias": report.via_alias,
        "ignoring case": report.via_case,
        "as R or a spreadsheet rewrote them": report.via_rewritten,
        "ambiguous": len(report.ambiguous),
        "missing": len(report.missing),
        "summed with another": report.summed,
    }
    details = ", ".join(f"{count:,} {how}" for how, count in others.items() if count)
    log.info(
        "genes: %s of %s found (%.1f %%) in column '%s'%s",
        f"{report.matched:,}",
        f"{report.total:,}",
        100 * report.share,
        report.column,
        f": {details}" if details else "",
    )
    if report.note:
        log.warning("%s", report.note)
