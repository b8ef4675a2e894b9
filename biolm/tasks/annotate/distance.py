"""Distance of a cell to the training cells, a novelty score: new types lie far out.

Dimensions: ``n`` cells · ``d`` width · ``w`` factors · ``m`` genes · ``c`` classes · ``k`` axes.

The distance is Mahalanobis' to the nearest class centre with one covariance within all classes (Lee et al.
2018, section 2.1), in three spaces: the model's vectors, principal components of the genes, and factor space.
Confidence cannot see such cells: a classifier is often sure of the nearest type that it knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.annotate.expression import ExpressionSpace

if TYPE_CHECKING:
    from biolm.tasks.annotate.points import Points

__all__ = ["Distance", "Space", "fit_space", "most_components"]

_COMPONENTS = 50
# Fewer of few cells: a component that fits the noise of its cells is narrower in any other cell.
_CELLS_PER_COMPONENT = 10
# Fraction of the mean variance in the covariance, so that it can be inverted and small axes stay small.
_SHRINKAGE = 0.1


@dataclass(frozen=True, eq=False)
class Space:
    """One space in which distances are measured.

    Parameters
    ----------
    kind
        ``vectors``, ``factors`` or ``genes``: what it reads.
    axes
        ``(d, k)``, ``(w, k)`` or ``(m, k)`` float32 onto axes of equal spread within classes.
    centres
        ``(c, k)`` float32 of the classes that were seen.
    limit
        The squared distance that counts as 1.
    """

    kind: str
    axes: NDArray[np.float32]
    centres: NDArray[np.float32]
    limit: float = 1.0

    def placed(self, vectors: NDArray[np.float32] | None, table: Any) -> NDArray[np.float64]:
        """``(n, k)`` places on the axes of the rows of what it reads.

        Parameters
        ----------
        vectors
            ``(n, d)`` of the model, or ``(n, w)`` factors.
        table
            Sparse ``(n, m)`` log-normalised expression; each is read by spaces of its own kind alone.
        """
        read: Any = table if self.kind == "genes" else vectors
        return np.asarray(read @ self.axes, dtype=np.float64)

    def distances(self, vectors: NDArray[np.float32] | None, table: Any) -> NDArray[np.float64]:
        """``(n,)`` squared distances to the nearest centre, over the limit, of the rows of what it reads.

        Parameters
        ----------
        vectors, table
            As of :meth:`placed`.
        """
        placed = self.placed(vectors, table)
        centres = self.centres.astype(np.float64)
        squares = (placed**2).sum(1)[:, None] - 2 * placed @ centres.T + (centres**2).sum(1)
        return np.asarray(np.maximum(squares.min(1), 0) / self.limit)


@dataclass(frozen=True, eq=False)
class Distance:
    """Spaces whose limits were set on cells that they did not see.

    Parameters
    ----------
    spaces
        At least one.
    """

    spaces: tuple[Space, ...]

    @classmethod
    def limited(cls, spaces: Sequence[Space], held_out: NDArray[np.float64], reject: float) -> Distance:
        """Set limits so that the share ``reject`` of held-out cells exceeds 1.

        Parameters
        ----------
        held_out
            ``(n, s)`` distances of held-out cells of known classes in each of the ``s`` spaces.
        """
        single = np.maximum(np.quantile(held_out, 1 - reject, axis=0), 1e-9)
        limits = single * np.quantile((held_out / single).max(1), 1 - reject)
        return cls(
            tuple(replace(space, limit=float(limit)) for space, limit in zip(spaces, limits, strict=True))
        )

    def over_limits(self, squared: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(n,)`` largest of the distances ``(n, s)`` in the ``s`` spaces, each over its limit."""
        return np.asarray((squared / [space.limit for space in self.spaces]).max(1))

    @property
    def reads_genes(self) -> bool:
        """Whether a space is one of genes."""
        return any(space.kind == "genes" for space in self.spaces)

    def novelty(self, vectors: NDArray[np.float32], table: Any) -> NDArray[np.float64]:
        """``(n,)`` largest distance of the spaces; above 1 a cell is of no class of the training cells.

        Parameters
        ----------
        vectors, table
            As of :meth:`Space.placed`.
        """
        distances = np.stack([space.distances(vectors, table) for space in self.spaces])
        return np.asarray(distances.max(0), np.float64)

    def without(self, present: NDArray[np.bool_], expression: ExpressionSpace) -> Distance:
        """The distance for a query that has the ``present`` genes ``(m,)`` only; the others are estimated.

        Parameters
        ----------
        present
            Which of the training genes the query has.
        expression
            How genes vary together in the training cells.
        """
        spaces = []
        for space in self.spaces:
            if space.kind == "genes":
                axes, bias = expression.without(present, space.axes)
                space = replace(space, axes=axes, centres=space.centres - bias)
            spaces.append(space)
        return Distance(tuple(spaces))

    def taken_apart(self) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
        """Plain facts and arrays."""
        facts = [{"kind": space.kind, "limit": space.limit} for space in self.spaces]
        arrays = {
            f"{space.kind}_{name}": np.ascontiguousarray(getattr(space, name), dtype=np.float32)
            for space in self.spaces
            for name in ("axes", "centres")
        }
        return facts, arrays

    @classmethod
    def joined(cls, facts: Sequence[Mapping[str, Any]], arrays: dict[str, NDArray[Any]]) -> Distance | None:
        """From what :meth:`taken_apart` gave, taken out of ``arrays``; None where there was none.

        Parameters
        ----------
        facts
            Kind and limit of each space.
        arrays
            Axes and centres by kind; these are removed from it.
        """
        spaces = []
        for each in facts:
            axes, centres = (arrays.pop(f"{each['kind']}_{name}") for name in ("axes", "centres"))
            spaces.append(Space(each["kind"], axes, centres, each["limit"]))
        return cls(tuple(spaces)) if spaces else None


def most_components(cells: int) -> int:
    """Components of the genes that so many training cells can tell."""
    return min(_COMPONENTS, max(cells // _CELLS_PER_COMPONENT, 2))


def fit_space(points: Points, kind: str, components: int | None = None) -> Space:
    """Centres and spread of the training cells in one space.

    Parameters
    ----------
    points
        Training cells.
    kind
        Of the space.
    components
        Of the genes at most; by default as many as the cells can tell.
    """
    if kind != "genes":
        vectors = points.vectors if kind == "vectors" else points.factors
        assert vectors is not None
        # In float64: the inverse of a covariance loses half of the digits.
        axes = _whitened(vectors.astype(np.float64), points.codes)
        placed = vectors @ axes
    else:
        axes = _gene_axes(points, components or most_components(len(points.codes)))
        placed = np.asarray(points.table @ axes)
    centres = [placed[points.codes == code].mean(0) for code in np.unique(points.codes)]
    return Space(kind, axes, np.stack(centres).astype(np.float32))


def _gene_axes(points: Points, most: int) -> NDArray[np.float32]:
    """``(m, k)`` whitened principal components of the most variable genes; the others weigh nothing."""
    components = points.components
    scores = components.scores[:, :most].astype(np.float64)
    return components.spread(_whitened(scores, points.codes)).astype(np.float32)


def _whitened(values: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """``(k, k)`` axes along which classes have unit variance within."""
    left = values.copy()
    for code in np.unique(codes):
        left[codes == code] -= values[codes == code].mean(0)
    # Pooled within classes: distances between classes are what is measured, not part of the spread.
    covariance = left.T @ left / len(left)
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * level * np.eye(len(covariance))
    return np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
