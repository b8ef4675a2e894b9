"""Factor space: where cells of any gene panel are compared, whatever model names them.

Dimensions: ``n`` cells of a block · ``d`` width of the annotator's model · ``w`` factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, GeneMatchError
from biolm.io.cells import CellBlock
from biolm.io.provenance import digest, plain
from biolm.models.systems import cellfactors
from biolm.models.systems.cellfactors import CellFactors
from biolm.progress import log
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from biolm.jobs.cells import CellEmbedding

__all__ = ["FactorSpace", "factor_space"]


@dataclass(frozen=True, eq=False)
class FactorSpace:
    """A factor model and where the genes of one file lie in it.

    Parameters
    ----------
    model
        The annotator's own model where it is a factor model, else the one that ships with biolm.
    match
        Where the file's genes go.
    own
        Whether it is the annotator's own model, which has made its vectors already.
    """

    model: CellFactors
    match: GeneMatch
    own: bool

    @property
    def facts(self) -> dict[str, str]:
        """What tells one factor model from another."""
        return {"name": self.model.name, "digest": digest(plain(self.model.describe()))}

    def place(self, block: CellBlock, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Factors ``(n, w)`` of a block, of which the annotator's model made ``vectors (n, d)``.

        Parameters
        ----------
        block
            ``n`` cells, with all genes of their source.
        vectors
            ``(n, d)`` of the annotator's model.
        """
        # What the model made already is not computed again.
        return self.cut(vectors) if self.own else self.model.placed(block, self.match)

    def cut(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The axes of a factor model's vectors that are factors and no text."""
        return vectors[:, : self.model.loadings.shape[1]]


def factor_space(
    job: CellEmbedding, settings: Any, known: Mapping[str, Any] | None = None
) -> FactorSpace | None:
    """Factor space for the cells of a source; None where too few of its genes have loadings, which is logged.

    Parameters
    ----------
    job
        The open cells, the annotator's model, and where their genes lie in its vocabulary.
    settings
        How genes are matched.
    known
        Facts of the factor model that placed the training cells.

    Raises
    ------
    CheckpointError
        If another factor model placed the training cells.
    """
    model = job.model
    used = model if isinstance(model, CellFactors) else cellfactors.load()
    try:
        match = _matched(used, job, settings)
        # Asked for its error alone: a panel too small is noticed before the job, and not in its first block.
        used.panel(match)
    except GeneMatchError as error:
        log.warning("novel cells are found without their distance in factor space: %s", error)
        return None
    space = FactorSpace(used, match, used is model)
    # Distances in another model's factors have another scale, so the stored cut-off would mean nothing.
    if known is not None and known["digest"] != space.facts["digest"]:
        raise CheckpointError(
            "the annotator finds novel cells by another factor model than the one of this biolm; "
            "fit the annotator again"
        )
    return space


def _matched(used: CellFactors, job: CellEmbedding, settings: Any) -> GeneMatch:
    """Where the genes lie in a factor model's vocabulary: known where the job's model has the same genes.

    Raises
    ------
    GeneMatchError
        If the ids of the cells are not those of their symbols, and nobody chose the column.
    """
    own, vocabulary = job.model.vocabulary, used.vocabulary
    if job.settings.match == "resolve" and (own is vocabulary or own.genes == vocabulary.genes):
        return job.match
    return vocabulary.match(
        job.source.gene_columns(), column=settings.gene_column, minimum=0, species=settings.species
    )
