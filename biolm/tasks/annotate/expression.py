"""Log-normalised expression of any file in the genes of the training file.

Dimensions: ``n`` cells · ``g`` genes of a file · ``m`` genes of the training file · ``k`` components ·
``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells.block import CellBlock
from biolm.scoring.components import leading_components
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

__all__ = [
    "Components",
    "ExpressionSpace",
    "components_of",
    "counts_in",
    "gene_names",
    "log_normalised",
    "variable_genes",
]

TOTAL = 1e4
_COMPONENTS = 50
_VARIABLE = 3000

LinearPart = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of the most variable genes.

    Parameters
    ----------
    genes
        ``(v,)`` columns of the table that were read, out of ``m``.
    mean
        ``(v,)`` of the genes.
    axes
        ``(v, k)`` by falling variance.
    scores
        ``(n, k)`` float32 of the cells of the table.
    width
        ``m``.
    """

    genes: NDArray[np.intp]
    mean: NDArray[np.floating[Any]]
    axes: NDArray[np.floating[Any]]
    scores: NDArray[np.float32]
    width: int

    def spread(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        """``(m, c)`` weights of genes that do what ``weights (k', c)`` of the first components do."""
        spread = np.zeros((self.width, weights.shape[1]))
        spread[self.genes] = self.axes[:, : len(weights)] @ weights
        return spread


def components_of(table: Any) -> Components:
    """At most 50 principal components of a sparse table ``(n, m)``."""
    genes = variable_genes(table)
    leading = leading_components(table[:, genes], _COMPONENTS)
    return Components(genes, leading.mean, leading.axes, leading.scores, table.shape[1])


@dataclass(frozen=True, eq=False)
class ExpressionSpace:
    """The genes of the training cells, and how they vary there.

    A query that lacks genes is compared fairly: its counts are brought to the total that the genes it does
    have make up in a training cell, and the genes it lacks are estimated from those it has, as the posterior
    mean of probabilistic principal components of the training cells (Tipping and Bishop 1999).

    Parameters
    ----------
    vocabulary
        ``m`` genes.
    share
        ``(m,)`` float32 fraction of all counts that a gene takes in training.
    mean
        ``(m,)`` float32 mean log-normalised value in training.
    loadings
        ``(m, k)`` float32 change of each gene with one standard deviation of a component.
    noise
        Variance of a gene that the components leave, on average.
    """

    vocabulary: GeneVocabulary
    share: NDArray[np.float32]
    mean: NDArray[np.float32]
    loadings: NDArray[np.float32]
    noise: float

    @classmethod
    def of(cls, vocabulary: GeneVocabulary, counts: Any) -> ExpressionSpace:
        """The space of training counts, a sparse ``(n, m)`` matrix.

        Parameters
        ----------
        vocabulary
            Genes of the columns.
        counts
            Sparse ``(n, m)``, of training cells alone.
        """
        totals = np.asarray(counts.sum(0)).ravel()
        table = log_normalised(counts)
        mean = np.asarray(table.mean(0)).ravel()
        loadings, noise = _loadings(table, mean)
        share = (totals / max(totals.sum(), 1)).astype(np.float32)
        return cls(vocabulary, share, mean.astype(np.float32), loadings, noise)

    def without(self, present: NDArray[np.bool_], genes: NDArray[np.float32]) -> LinearPart:
        """Weights and bias that do with the ``present`` genes ``(m,)`` what ``genes (m, c)`` do with all.

        Parameters
        ----------
        present
            ``(m,)`` genes that a file has.
        genes
            ``(m, c)`` weights of a classifier that was trained on all.
        """
        kept, lacked = self.loadings[present].astype(float), self.loadings[~present].astype(float)
        # Posterior mean of the missing genes under a factor model (Tipping and Bishop 1999), as weights on
        # the rest.
        precision = kept.T @ kept + self.noise * np.eye(kept.shape[1])
        # Weights that the lacked genes hand over to the held ones.
        passed = kept @ np.linalg.solve(precision, lacked.T @ genes[~present])
        weights = np.zeros(genes.shape)
        weights[present] = genes[present] + passed
        bias = self.mean[~present] @ genes[~present] - self.mean[present] @ passed
        return weights.astype(np.float32), bias.astype(np.float32)

    def present(self, match: GeneMatch) -> NDArray[np.bool_]:
        """``(m,)`` genes that a file has."""
        present = np.zeros(len(self.vocabulary), bool)
        present[match.target[match.target >= 0]] = True
        return present

    def table(self, block: CellBlock, match: GeneMatch) -> Any:
        """Sparse ``(n, m)`` log1p of counts, scaled to the total of the file's genes in training.

        Parameters
        ----------
        block
            Cells.
        match
            Their genes in the vocabulary.
        """
        # A panel holds a part of the counts: scaled to the full total, its genes would seem overexpressed.
        total = TOTAL * float(self.share[self.present(match)].sum())
        return log_normalised(counts_in(block, match, len(self.vocabulary)), total)


def variable_genes(table: Any, count: int = _VARIABLE) -> NDArray[np.intp]:
    """Columns of a sparse table that vary most, in order.

    Parameters
    ----------
    table
        Sparse ``(n, g)``.
    count
        How many genes.
    """
    mean, power = (np.asarray(each.mean(0)).ravel() for each in (table, table.multiply(table)))
    # Negative variance sorted stably, so that of equally variable genes the first win on every machine.
    return np.sort(np.argsort(mean**2 - power, kind="stable")[:count])


def _loadings(table: Any, mean: NDArray[np.float64]) -> tuple[NDArray[np.float32], float]:
    """Loadings of all genes on standardised components of the most variable ones, and what they leave."""
    scores = components_of(table).scores
    scores = scores / np.maximum(scores.std(0), 1e-9)
    # Scores are centred and uncorrelated, so a gene's regression on them is a product.
    loadings = np.asarray(table.T @ scores) / len(scores)
    power = np.asarray(table.multiply(table).mean(0)).ravel() - mean**2
    left = np.maximum(power - (loadings**2).sum(1), 0)
    return loadings.astype(np.float32), float(max(left.mean(), 1e-6))


def gene_names(columns: Mapping[str, NDArray[np.str_]], match: GeneMatch) -> list[str]:
    """Names of a file's genes, each once: of the column that the model knew best, else the index.

    Parameters
    ----------
    columns
        Of the file's genes.
    match
        Where they go.
    """
    best = columns[match.report.column]
    index = columns.get("index", best)
    # A gene that the best column leaves blank still has its name of the index.
    names = (a or b for a, b in zip(best.tolist(), index.tolist(), strict=True))
    return list(dict.fromkeys(name for name in names if name))


def counts_in(block: CellBlock, match: GeneMatch, genes: int) -> Any:
    """Counts of a block as a sparse float32 ``(n, genes)`` matrix; columns of one gene are summed.

    Parameters
    ----------
    block
        The cells.
    match
        Where their genes go.
    genes
        Columns of the result.
    """
    from scipy.sparse import csr_matrix

    target, data, indptr = match.target[block.indices], block.data, block.indptr
    if (match.target < 0).any():
        known = target >= 0
        target, data = target[known], data[known]
        indptr = np.concatenate([[0], np.cumsum(known)])[indptr]
    # Adding up changes the arrays in place, and the block is not done with.
    matrix = csr_matrix((data.astype(np.float32), target, indptr.copy()), (len(block), genes))
    # Two columns may stand for one gene (versions of an Ensembl id).
    matrix.sum_duplicates()
    return matrix


def log_normalised(counts: Any, total: float = TOTAL) -> Any:
    """Sparse float32 ``(n, m)`` log1p of counts brought to one total a cell; empty cells stay zero.

    Parameters
    ----------
    counts
        Sparse ``(n, m)``.
    total
        Of every cell.
    """
    from scipy.sparse import csr_matrix

    sums = np.asarray(counts.sum(1), dtype=np.float64).ravel()
    # Empty cells are divided by 1 and stay zero.
    factors = total / np.where(sums > 0, sums, 1.0)
    values = np.log1p(counts.data * np.repeat(factors, np.diff(counts.indptr)))
    return csr_matrix((values.astype(np.float32), counts.indices, counts.indptr), counts.shape)
