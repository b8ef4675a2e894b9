"""Annotation of cells: by the model's vectors and by their expression.

Dimensions: ``n`` cells · ``g`` genes of the training cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import GeneMatchError
from biolm.io.cells import CellSource
from biolm.io.provenance import plain
from biolm.jobs.cells import prepare
from biolm.jobs.modality import Modality
from biolm.jobs.precision import settled
from biolm.models.model import EmbedOptions
from biolm.progress import log
from biolm.tasks.annotate.annotator import Annotator, Head
from biolm.tasks.annotate.expression import ExpressionSpace, log_normalised
from biolm.tasks.annotate.factor_space import FactorSpace, factor_space
from biolm.tasks.annotate.labelled import ChosenCells, Wanted, chosen_rows, read_labels, read_training
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.rows import RowKind, RowTraining, names_in
from biolm.tasks.annotate.score import COMPARED
from biolm.tasks.annotate.settings import TRAINED, FitSettings, PredictSettings
from biolm.tasks.annotate.token_runs import check_trainable, read_tokens
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from biolm.training.linear_start import Inputs, Vectors

__all__ = ["CellKind", "CellTraining"]

# With fewer of the training genes than this, the user should know.
_FEW = 0.5
# Fraction of the training counts whose genes a query needs for distances to mean the same there.
_ENOUGH = 0.7


@dataclass(frozen=True, kw_only=True)
class CellTraining(RowTraining):
    """Labelled cells and their counts; ``factors`` tells which model placed them in factor space."""

    factors: Mapping[str, Any] | None = None
    compared: ClassVar[tuple[str, ...]] = COMPARED

    @property
    def parts(self) -> Sequence[str]:
        """Vectors and expression together, then each alone; or what the user chose."""
        joins = self.settings.method != "knn" and self.settings.features == "joint"
        return ("joint", "embedding", "expression") if joins else (self.settings.features,)

    @cached_property
    def table(self) -> Any:
        """``(n, g)`` log-normalised expression."""
        return log_normalised(self.labelled.counts)

    @cached_property
    def tokens(self) -> Tokens:
        """Of all cells."""
        return read_tokens(self.job)

    def inputs(self) -> Inputs | Vectors:
        """What fine-tuning reads: tokens, or for ``head`` the vectors as they are."""
        if self.settings.method == "head":
            return super().inputs()
        from biolm.training.linear_start import Inputs

        places, model, options = np.arange(len(self.labelled) + 1), self.model, self._options
        return Inputs(
            tokens=self.tokens,
            samples=places[:-1],
            starts=places,
            states=lambda core, batch: model.batch_vectors(core, batch, options),
        )

    def vectors(self, model: Any) -> NDArray[np.float32]:
        """``(n, d)`` vectors of a model that was trained further."""
        vectors: NDArray[np.float32] = model.embed_tokens(self.tokens, self._options)
        return vectors

    @property
    def _options(self) -> EmbedOptions:
        chosen = self.settings
        return EmbedOptions(pool=chosen.pool, batch_tokens=chosen.batch_tokens, device=chosen.device)

    def annotator(self, reference: Mapping[str, Any], heads: Sequence[Head], **trained: Any) -> Annotator:
        """The annotator with these heads, the genes of the cells and how they were found."""
        annotator = super().annotator(reference, heads, **trained)
        job, labelled = self.job, self.labelled
        assert labelled.vocabulary is not None
        reading = {
            "matrix": job.source.matrix,
            "genes": job.match.report.as_dict(),
            "cells": job.source.n_cells,
        }
        return replace(
            annotator,
            factors=self.factors,
            embedding={**annotator.embedding, "match": self.settings.match},
            space=ExpressionSpace.of(labelled.vocabulary, labelled.counts),
            provenance=plain({**annotator.provenance, **reading}),
        )


class CellKind(RowKind):
    """Cells."""

    def training(
        self,
        modality: Modality,
        source: Any,
        wanted: Wanted,
        model: Any,
        settings: FitSettings,
    ) -> CellTraining:
        """Read labelled cells, whose labels are columns of ``obs``.

        Raises
        ------
        InputError, GeneMatchError, ConfigError
            If a column, its labels or the counts cannot be used.
        """
        names = names_in(wanted, modality)
        every = read_labels(source.obs_columns(), source.obs_column, names, settings.leave_out)
        rows = chosen_rows(every, settings)
        if settings.method in TRAINED:
            check_trainable(model, settings)
        # Only the rows that are used: embedding is what takes the time.
        job = prepare(ChosenCells(source, rows), model, settings)
        job = settled(job)
        # Classes keep their codes when rows are left out, so codes of all columns stay comparable.
        labels = tuple(column.take(rows) for column in every)
        space = factor_space(job, settings) if settings.reject else None
        labelled = read_training(job, labels, settings, space)
        facts = None if space is None else space.facts
        return CellTraining(job=job, labelled=labelled, settings=settings, unit=modality.reads, factors=facts)

    def columns(self, source: Any) -> Sequence[str]:
        """Columns of ``obs``."""
        columns: Sequence[str] = source.obs_columns()
        return columns

    def heads(
        self, annotator: Annotator, source: Any, settings: PredictSettings
    ) -> tuple[GeneMatch | None, Sequence[Head]]:
        """Where the query's genes lie among those of the training cells, and heads that make do with them.

        Raises
        ------
        GeneMatchError
            If the query shares too few genes with the training cells.
        """
        space, reads = annotator.space, annotator.reads_genes
        if space is None or not (reads or annotator.reads_factors):
            return None, annotator.heads
        # Heads that read vectors alone need no shared genes; the novelty score asks for them and may go
        # without.
        match = _matched(space, source, settings, settings.minimum_match if reads else 0)
        present = space.present(match)
        covered = float(space.share[present].sum())
        if covered < _ENOUGH:
            log.warning(
                "the query's genes make up %.0f %% of the counts of the training cells; too few to find "
                "novel cells by their distance, so only uncertain ones are unknown",
                100 * covered,
            )
        if reads and present.mean() < _FEW:
            log.warning(
                "the query holds %.0f %% of the %s genes of the training cells; the others are estimated",
                100 * present.mean(),
                f"{len(present):,}",
            )
        heads = [_lacking(head, present, space, covered >= _ENOUGH) for head in annotator.heads]
        return match if reads else None, heads

    def space(
        self, annotator: Annotator, heads: Sequence[Head], job: Any, settings: PredictSettings
    ) -> FactorSpace | None:
        """Factor space for the query, by the model that placed the training cells.

        Raises
        ------
        CheckpointError
            If that is another one than the one at hand.
        """
        if annotator.factors is None or not any(head.frozen.reads_factors for head in heads):
            return None
        return factor_space(job, settings, annotator.factors)


def _matched(
    space: ExpressionSpace, source: CellSource, settings: PredictSettings, minimum: float
) -> GeneMatch:
    try:
        return space.vocabulary.match(
            source.gene_columns(),
            column=settings.gene_column,
            minimum=minimum,
            species=settings.species,
        )
    except GeneMatchError as error:
        raise GeneMatchError(
            f"the query shares too few genes with the cells that the annotator was fitted on: {error}"
        ) from error


def _lacking(head: Head, present: NDArray[np.bool_], space: ExpressionSpace, distant: bool) -> Head:
    """The head for a query without some genes; ``distant`` where distances still mean the same."""
    if present.all():
        return head
    scorer, distance, novelty = head.frozen.scorer, head.frozen.distance, head.frozen.novelty
    if not distant:
        distance = None
        # Without the space the score falls back to doubt alone, whose scale was kept for this.
        novelty = None if novelty is None else replace(novelty, space=None)
    if isinstance(scorer, LinearMap) and scorer.reads_genes:
        # The weights of missing genes pass to the ones that vary with them; zeros would shift every logit.
        genes, bias = space.without(present, scorer.genes)
        scorer = LinearMap(scorer.vectors, genes, scorer.bias + bias)
    if distance is not None:
        distance = distance.without(present, space)
    return replace(head, frozen=replace(head.frozen, scorer=scorer, distance=distance, novelty=novelty))
