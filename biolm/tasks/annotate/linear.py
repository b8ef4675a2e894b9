"""One linear map from vectors and expression to classes, made of members chosen inside the training cells.

Dimensions: ``n`` cells · ``d`` width of the model's vectors · ``m`` genes · ``c`` classes.

Every member is linear in the vectors or in the log-normalised genes, and so is their mean; what is kept is
one matrix, whatever was chosen:

``embedding``
    L2 logistic regression on the standardised vectors of the model.
``sparse``
    L1 logistic regression on all genes, one class against the rest.
``markers``
    L2 logistic regression on the genes that differ most between a class and the rest (Welch's t).
``components``
    L2 logistic regression on principal components of the genes.

Classes count alike, however many cells they have. Which members enter the mean is decided by macro-F1 in
cross-validation among the training cells; held-out cells have no say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.scoring.baselines import unfinished
from biolm.scoring.sparse_logistic import sparse_logistic
from biolm.tasks.annotate.expression import Components, components_of

__all__ = ["MEMBERS", "UNSEEN", "LinearMap", "fit_member", "mean_map"]

MARKERS = 200
# Logit of a class that a member never saw: never its choice, yet no infinity.
UNSEEN = -20.0


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Logits as a linear function of vectors and log-normalised genes.

    Parameters
    ----------
    vectors
        ``(d, c)`` float32.
    genes
        ``(m, c)`` float32.
    bias
        ``(c,)`` float32.
    """

    vectors: NDArray[np.float32]
    genes: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, vectors: NDArray[np.float32], table: Any) -> NDArray[np.float64]:
        """``(n, c)`` logits of vectors ``(n, d)`` and a sparse ``(n, m)`` table.

        Parameters
        ----------
        vectors
            ``(n, d)`` of the model.
        table
            Sparse ``(n, m)`` expression; read where genes have weights.
        """
        logits = np.asarray(vectors @ self.vectors + self.bias, dtype=np.float64)
        if self.reads_genes:
            logits += np.asarray(table @ self.genes)
        return logits

    @property
    def reads_genes(self) -> bool:
        """Whether any gene has a weight."""
        return bool(self.genes.any())

    @property
    def reads_vectors(self) -> bool:
        """Whether any axis of the vectors has a weight."""
        return bool(self.vectors.any())


def mean_map(parts: list[LinearMap]) -> LinearMap:
    """The mean of some maps."""
    vectors, genes, bias = (
        np.mean([getattr(part, name) for part in parts], axis=0) for name in ("vectors", "genes", "bias")
    )
    return LinearMap(vectors, genes, bias)


def fit_member(
    name: str,
    vectors: NDArray[np.float32],
    table: Any,
    codes: NDArray[np.int64],
    n_classes: int,
    seed: int,
    components: Components | None = None,
) -> LinearMap:
    """Fit one member.

    Parameters
    ----------
    name
        One of :data:`MEMBERS`.
    vectors, table
        ``(n, d)`` and sparse ``(n, m)`` of the training cells.
    codes
        ``(n,)`` classes.
    n_classes
        ``c``; a class without a cell is never chosen.
    seed
        Of the solvers.
    components
        Of the table, where they are known already.
    """
    seen = np.unique(codes)
    width, genes = vectors.shape[1], table.shape[1]
    reads_vectors = name == "embedding"
    read = vectors if reads_vectors else table
    if name == "components":
        read = components_of(table) if components is None else components
    weights, bias = MEMBERS[name](read, codes, seed)
    # A fold may lack a class, while all members answer for the same ones.
    all_bias = np.full(n_classes, UNSEEN, np.float32)
    all_bias[seen] = bias
    everything = np.zeros((width if reads_vectors else genes, n_classes), np.float32)
    everything[:, seen] = weights
    nothing = np.zeros((genes if reads_vectors else width, n_classes), np.float32)
    pair = (everything, nothing) if reads_vectors else (nothing, everything)
    return LinearMap(pair[0], pair[1], all_bias)


Weights = tuple[NDArray[Any], NDArray[Any]]


def _embedding(vectors: NDArray[np.float32], codes: NDArray[np.int64], seed: int) -> Weights:
    mean, scale = vectors.mean(0), vectors.std(0) + 1e-6
    return _unscaled(*_logistic((vectors - mean) / scale, codes, 0.1, seed), mean, scale)


def _sparse(table: Any, codes: NDArray[np.int64], seed: int) -> Weights:
    classes = np.unique(codes)
    # Of two classes, one against the rest is both.
    fitted = classes[-1:] if len(classes) == 2 else classes
    inside = codes[:, None] == fitted
    return _of_two(*sparse_logistic(table, inside, strength=0.3, balanced=True, tolerance=1e-2, seed=seed))


def _markers(table: Any, codes: NDArray[np.int64], seed: int) -> Weights:
    chosen = np.unique(np.concatenate([np.argsort(-np.abs(t))[:MARKERS] for t in _welch(table, codes)]))
    dense = table[:, chosen].toarray()
    # The offset keeps genes that hardly vary from growing large.
    mean, scale = dense.mean(0), np.sqrt(dense.var(0) + 0.05)
    fitted_weights, bias = _unscaled(*_logistic((dense - mean) / scale, codes, 0.003, seed), mean, scale)
    weights = np.zeros((table.shape[1], fitted_weights.shape[1]))
    weights[chosen] = fitted_weights
    return weights, bias


def _components(components: Components, codes: NDArray[np.int64], seed: int) -> Weights:
    own_weights, bias = _logistic(components.scores, codes, 0.1, seed)
    weights = components.spread(own_weights)
    return weights, bias - components.mean @ weights[components.genes]


MEMBERS: Mapping[str, Callable[[Any, NDArray[np.int64], int], Weights]] = {
    "embedding": _embedding,
    "sparse": _sparse,
    "markers": _markers,
    "components": _components,
}
"""Members by name; each gives weights and a bias for the classes that ``codes`` holds."""


def _logistic(points: NDArray[Any], codes: NDArray[np.int64], strength: float, seed: int) -> Weights:
    """Multinomial logistic regression; ``strength`` is scikit-learn's ``C``."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=200, tol=1e-3, random_state=seed)
    with unfinished():
        model.fit(points, codes)
    return _of_two(model.coef_.T, model.intercept_)


def _of_two(weights: NDArray[Any], bias: NDArray[Any]) -> Weights:
    """One column stands for two classes: half of it for, half against."""
    if weights.shape[1] > 1:
        return weights, bias
    return np.hstack([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])


def _unscaled(weights: NDArray[Any], bias: NDArray[Any], mean: NDArray[Any], scale: NDArray[Any]) -> Weights:
    """Weights for points as they were before they were standardised."""
    unscaled = weights / scale[:, None]
    return unscaled, bias - mean @ unscaled


def _welch(table: Any, codes: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    """``(m,)`` Welch's t of each class against the rest."""
    squares = table.multiply(table)
    sums, powers = np.asarray(table.sum(0)).ravel(), np.asarray(squares.sum(0)).ravel()
    for label in np.unique(codes):
        inside = codes == label
        k, rest = inside.sum(), (~inside).sum()
        own, own_powers = (np.asarray(each[inside].sum(0)).ravel() for each in (table, squares.tocsr()))
        a, b = own / k, (sums - own) / rest
        # Variance of the mean in both groups (Welch 1947).
        spread = (own_powers / k - a**2) / k + ((powers - own_powers) / rest - b**2) / rest
        yield (a - b) / np.sqrt(np.maximum(spread, 0) + 1e-3 / len(codes))
