"""Factors of cells joined with principal components of their own data set.

Dimensions: ``n`` cells · ``g`` gene columns of the file · ``c`` components.

Components know what sets the cells of this data set apart and nothing else, so such vectors are for one data
set: those of two files are never comparable, not even of the same tissue.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells import CellBlock, CellSource
from biolm.models.model import CellModel, EmbedOptions
from biolm.scoring.quality import log_normalised
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

__all__ = ["ADAPTED", "Adapted", "adapt"]

ADAPTED = "cellfactors_adapted"
COMPONENTS, FEWEST, MOST = 20, 100, 10_000
SHARE = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class Adapted(CellModel):
    """A factor model and the components of one data set.

    Parameters
    ----------
    model
        The factor model.
    components
        ``(g, c)`` float32, of log counts per 10,000.
    offset
        ``(c,)`` the mean cell along them.
    scales
        Root mean squares of the lengths of components, factors and text over the data set.
    factors
        How many axes of the model are factors; the rest is text.
    """

    model: CellModel
    components: NDArray[np.float32]
    offset: NDArray[np.float32]
    scales: tuple[float, float, float]
    factors: int
    name: str = ADAPTED
    wants_counts: bool = True
    pools: tuple[str, ...] = ("posterior-mean",)

    @property
    def vocabulary(self) -> GeneVocabulary:  # type: ignore[override]  # the model's
        """Genes of the factor model."""
        return self.model.vocabulary

    @property
    def width(self) -> int:  # type: ignore[override]  # components, factors and text
        """Axes of a vector: components, factors, text."""
        return int(self.components.shape[1]) + self.model.width

    def examine(self, match: GeneMatch) -> dict[str, float]:
        """As the factor model says."""
        return self.model.examine(match)

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, c + d)`` of a block of counts."""
        own = log_normalised(_table(block)) @ self.components - self.offset
        return _joined(own, self.model.embed(block, match, options), self.factors, self.scales)

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance; the digest tells one data set's components from another's."""
        return {
            **self.model.describe(),
            "kind": "factors of cells joined with principal components of this data set",
            "comparable": "never with the vectors of another file",
            "components": self.components.shape[1],
            "components_sha256": hashlib.sha256(self.components.tobytes()).hexdigest(),
            "width": self.width,
        }


def adapt(model: CellModel, factors: int, source: CellSource, match: GeneMatch) -> Adapted:
    """Join a factor model with the components of a data set.

    Parameters
    ----------
    model
        The factor model.
    factors
        How many of its axes are factors.
    source
        The data set; at most 10,000 evenly spaced cells of it are read.
    match
        Where its genes lie in the model's vocabulary.

    Raises
    ------
    InputError
        If it has fewer than 100 cells, or these do not differ.
    """
    from sklearn.decomposition import PCA

    if source.n_cells < FEWEST:
        raise InputError(
            f"principal components of {source.n_cells} cells say little, and adapting needs {FEWEST}; leave "
            "out `adapt=True`"
        )
    block = source.take(np.arange(0, source.n_cells, -(-source.n_cells // MOST), dtype=np.int64))
    vectors = model.embed(block, match, EmbedOptions())  # first: it refuses a panel of few genes
    logs = log_normalised(_table(block))
    if not (logs.max(0) != logs.min(0)).nnz:
        raise InputError(
            "the cells do not differ in any gene, so they have no principal components; leave out "
            "`adapt=True`"
        )
    fitted = PCA(min(COMPONENTS, min(logs.shape) - 1), svd_solver="arpack", random_state=0).fit(logs)
    components = np.ascontiguousarray(fitted.components_.T, np.float32)
    offset = (fitted.mean_ @ components).astype(np.float32)
    own = logs @ components - offset
    parts = own, vectors[:, :factors], vectors[:, factors:]
    first, second, third = (
        float(np.sqrt(((part - part.mean(0)) ** 2).sum(1).mean())) or 1.0 for part in parts
    )
    return Adapted(model, components, offset, (first, second, third), factors)


def _table(block: CellBlock) -> Any:
    """The block as a scipy sparse matrix ``(n, g)``."""
    from scipy.sparse import csr_matrix

    return csr_matrix((block.data, block.indices, block.indptr), (len(block), block.n_genes))


def _joined(
    own: NDArray[Any], vectors: NDArray[np.float32], factors: int, scales: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Components, half the factors and half the text, each of unit mean square over the data set."""
    parts = own, SHARE * vectors[:, :factors], SHARE * vectors[:, factors:]
    scaled = [part / scale for part, scale in zip(parts, scales, strict=True)]
    return np.concatenate(scaled, axis=1).astype(np.float32)
