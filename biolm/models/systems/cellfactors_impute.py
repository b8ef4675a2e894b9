"""Genes that a file does not measure, from the factors of its cells.

Dimensions: ``n`` cells of a block · ``m`` imputed genes · ``k`` genes with loadings · ``d`` factors.

The posterior mean of y = μ + W z given the genes that the file measures (Rubin and Thayer 1982). All cells of
a file share the posterior variance of a gene, since it depends on which genes are measured and not on their
counts: ψ + w C wᵀ, with C the posterior covariance of the factors and w the gene's loadings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from biolm.models.systems.cellfactors import CellFactors

__all__ = ["FactorImputer"]

UNIT = "log(1 + counts of a gene in 10,000 counts of all genes)"


@dataclass(frozen=True, eq=False)
class FactorImputer:
    """Imputes genes with loadings; see :class:`~biolm.models.model.Imputer`.

    Parameters
    ----------
    model
        The factor model.
    match
        Where the file's genes go.
    rows
        Vocabulary rows of the genes of the file's species that are, or stand for, a gene with loadings.
    places
        Of each, its row among the ``k`` genes.
    measured
        Of each, whether the file measures it or another gene that stands for the same human gene.
    covariance
        ``(d, d)`` posterior covariance of the factors.
    """

    model: CellFactors
    match: GeneMatch
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    measured: NDArray[np.bool_]
    covariance: NDArray[np.float64]
    unit: str = UNIT

    @classmethod
    def of(cls, model: CellFactors, match: GeneMatch) -> FactorImputer:
        """For the genes of a file.

        Parameters
        ----------
        model
            The factor model.
        match
            Where the file's genes go.

        Raises
        ------
        GeneMatchError
            If the file measures fewer than 30 genes with loadings.
        """
        panel, human = model.panel(match), model.text.human
        is_human = human == np.arange(len(human))
        of_species = ~is_human if match.report.species == "mouse" else is_human
        rows = np.flatnonzero(of_species & np.isin(human, model.rows))
        places = np.searchsorted(model.rows, human[rows])
        measured = np.isin(places, panel.genes)
        return cls(model, match, rows, places, measured, panel.covariance)

    def columns(self, genes: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Whether a gene is measured, its posterior variance, and the r² to expect.

        That is 1 - posterior variance / prior variance, for cells as varied as those of the fit. Of a mouse
        gene also the human gene that it stands for, and how many mouse genes stand for that one: the value is
        that of their summed counts.
        """
        loadings = self.model.loadings[self.places[genes]].astype(np.float64)
        noise = self.model.noise[self.places[genes]].astype(np.float64)
        prior = noise + (loadings**2).sum(1)
        left = noise + ((loadings @ self.covariance) * loadings).sum(1)
        columns: dict[str, NDArray[Any]] = {
            "measured": self.measured[genes],
            "posterior_variance": left.astype(np.float32),
            "expected_r2": (1 - left / prior).astype(np.float32),
        }
        if self.match.report.species == "mouse":
            names, numbers = self.model.vocabulary.genes, self.model.rows[self.places[genes]]
            columns["human_ortholog"] = np.array([names[row] for row in numbers.tolist()], str)
            columns["genes_summed"] = np.bincount(self.places, minlength=len(self.model.rows))[
                self.places[genes]
            ].astype(np.int32)
        return columns

    def prior(self, genes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Means ``(m,)`` over the sets of the fit."""
        return self.model.means[self.places[genes]]

    def values(self, block: CellBlock, genes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Posterior means ``(n, m)``, at least 0 as the log of 1 + counts is.

        Parameters
        ----------
        block
            Counts of ``n`` cells.
        genes
            Places among :attr:`rows`.
        """
        factors = self.model.factors(block, self.match)
        values = factors @ self.model.loadings[self.places[genes]].T
        values += self.prior(genes)
        return np.asarray(np.maximum(values, 0, out=values))
