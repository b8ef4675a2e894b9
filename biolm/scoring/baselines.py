"""What a model of cells must beat: classifiers on the counts themselves, all called alike.

Dimensions: ``n`` cells to learn from · ``m`` cells to call · ``g`` genes · ``c`` cell types.

Published studies found the simple ones as good as single-cell foundation models, or better (Boiarsky et al.
2023, bioRxiv 10.1101/2023.10.19.563100), so every score of a model stands beside them. Each works on
log1p(counts per 10,000) of the cells it is given, fits nothing on the cells to be called, and wants the same
genes in the same order on both sides.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError
from biolm.scoring.components import leading_components
from biolm.scoring.quality import log_normalised, unit_rows, variable_columns
from biolm.scoring.sparse_logistic import sparse_logistic

__all__ = [
    "BASELINES",
    "Fitted",
    "Predictor",
    "fit_knn",
    "fit_linear",
    "l1_penalty",
    "predictions",
    "unfinished",
]

NEIGHBOURS = 15
COMPONENTS = 50
VARIABLE_GENES = 2000
# CellTypist's limit on scaled values.
CLIP = 10.0
# Small enough that no more than rounding is left of the baseline's loss.
_L1_TOLERANCE = 1e-4
# Values of a sparse table up to which it is made dense, to be centred.
_DENSE = 2**26

Projection = Callable[[Any], NDArray[np.float32]]
_projections: WeakValueDictionary[tuple[int, int], Projection] = WeakValueDictionary()


class Predictor(Protocol):
    """A fitted classifier of cells."""

    @property
    def classes(self) -> NDArray[np.str_]:
        """``(c,)`` names of the types it knows, in alphabetical order."""
        ...

    def predict_proba(self, counts: Any) -> NDArray[np.float64]:
        """``(m, c)`` probabilities of cells given as ``(m, g)`` counts (or vectors, as it was fitted)."""
        ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """A :class:`Predictor`: a function of the input, and the names of its columns."""

    classes: NDArray[np.str_]
    function: Callable[[Any], NDArray[np.float64]]

    def predict_proba(self, counts: Any) -> NDArray[np.float64]:
        """``(m, c)`` probabilities."""
        return np.asarray(self.function(counts), dtype=np.float64)


def predictions(predictor: Predictor, counts: Any) -> NDArray[np.str_]:
    """``(m,)`` the likeliest type of each cell.

    Parameters
    ----------
    predictor
        Fitted.
    counts
        ``(m, g)``.
    """
    names: NDArray[np.str_] = predictor.classes[predictor.predict_proba(counts).argmax(1)]
    return names


def fit_majority(counts: Any, labels: ArrayLike, seed: int = 0) -> Predictor:  # noqa: ARG001  # one face for all
    """The fractions of the types, whatever the cell: the floor."""
    names, sizes = np.unique(_names(counts, labels), return_counts=True)
    shares = sizes / sizes.sum()
    return Fitted(names, lambda more: np.tile(shares, (more.shape[0], 1)))


def fit_l1(counts: Any, labels: ArrayLike, seed: int = 0) -> Predictor:
    """L1 logistic regression on all genes, ``C = 0.1``, one type against the rest.

    As in the benchmark of Boiarsky et al. 2023.
    """
    from scipy.special import expit

    names = _names(counts, labels)
    classes, codes = np.unique(names, return_inverse=True)
    if len(classes) == 1:
        return fit_majority(counts, names)
    two = len(classes) == 2
    inside = codes[:, None] == np.arange(two, len(classes))
    table = _float32(counts)
    weights, bias = sparse_logistic(
        table, inside, strength=0.1, balanced=False, tolerance=_L1_TOLERANCE, seed=seed
    )

    def probabilities(more: Any) -> NDArray[np.float64]:
        likely = expit((_float32(more) @ weights + bias).astype(np.float64))
        if two:
            return np.hstack([1 - likely, likely])
        return np.asarray(likely / likely.sum(1, keepdims=True))

    return Fitted(classes, probabilities)


def fit_pca_linear(counts: Any, labels: ArrayLike, seed: int = 0) -> Predictor:
    """50 principal components and logistic regression."""
    project = _components(counts, seed)
    return _through(project, fit_linear(project(counts), _names(counts, labels), seed))


def fit_pca_knn(counts: Any, labels: ArrayLike, seed: int = 0) -> Predictor:
    """50 principal components and the 15 nearest neighbours."""
    project = _components(counts, seed)
    return _through(project, fit_knn(project(counts), _names(counts, labels), seed))


def fit_sgd(counts: Any, labels: ArrayLike, seed: int = 0) -> Predictor:
    """Logistic regression by stochastic gradient descent on scaled genes, as CellTypist trains its models.

    Genes are scaled to unit variance and cut at 10 but not centred, so that the table stays sparse.
    """
    from sklearn.linear_model import SGDClassifier
    from sklearn.preprocessing import StandardScaler

    names = _names(counts, labels)
    # Not centred, as CellTypist does not: the table stays sparse.
    scaler = StandardScaler(with_mean=False).fit(_float32(counts))

    def scaled(more: Any) -> Any:
        table = scaler.transform(_float32(more))
        np.minimum(table.data, CLIP, out=table.data)
        return table

    model = SGDClassifier(loss="log_loss", alpha=1e-4, max_iter=50, random_state=seed)
    return _fitted(model, scaled, counts, names)


def fit_hvg(counts: Any, labels: ArrayLike, seed: int = 0) -> Predictor:
    """Logistic regression on the 2,000 most variable genes."""
    genes = variable_columns(log_normalised(counts), VARIABLE_GENES)

    def chosen(more: Any) -> Any:
        return _float32(more)[:, genes]

    return _through(chosen, fit_linear(chosen(counts), _names(counts, labels), seed))


def fit_linear(vectors: Any, labels: ArrayLike, seed: int = 0) -> Predictor:
    """L2 logistic regression on vectors ``(n, d)``, each column centred and of unit variance; ``C = 1``.

    A sparse table of more than 2^26 values is scaled but not centred, to stay sparse. A predictor of one
    class alone always calls it.

    Parameters
    ----------
    vectors
        ``(n, d)``.
    labels
        ``(n,)`` types.
    seed
        Of the solver.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    names = _names(vectors, labels)
    dense = isinstance(vectors, np.ndarray) or vectors.shape[0] * vectors.shape[1] <= _DENSE
    scaler = StandardScaler(with_mean=dense).fit(_dense(vectors) if dense else vectors)

    def scaled(more: Any) -> Any:
        return scaler.transform(_dense(more) if dense else more)

    # On uncentred columns, or with 1e-3, macro-F1 lies up to 0.04 from where the fit ends.
    model = LogisticRegression(max_iter=2000, tol=1e-5, random_state=seed)
    return _fitted(model, scaled, vectors, names)


def _dense(table: Any) -> NDArray[Any]:
    return table if isinstance(table, np.ndarray) else np.asarray(table.toarray())


def fit_knn(
    vectors: Any,
    labels: ArrayLike,
    seed: int = 0,  # noqa: ARG001  # one face for all
    *,
    neighbours: int = NEIGHBOURS,
) -> Predictor:
    """Shares of the types among the nearest cells by angle, for vectors ``(n, d)``.

    Parameters
    ----------
    vectors
        ``(n, d)``.
    labels
        ``(n,)`` types.
    seed
        Unused; the call of all baselines.
    neighbours
        How many vote.
    """
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(neighbours, len(vectors)))
    return _fitted(model, unit_rows, vectors, _names(vectors, labels))


BASELINES: dict[str, Callable[..., Predictor]] = {
    "majority class": fit_majority,
    "L1 logistic regression": fit_l1,
    "PCA-50 + logistic regression": fit_pca_linear,
    "PCA-50 + kNN": fit_pca_knn,
    "SGD logistic regression": fit_sgd,
    "HVG + logistic regression": fit_hvg,
}
"""Every baseline by name: a function of ``counts (n, g)``, ``labels (n,)`` and ``seed``."""


def _components(counts: Any, seed: int) -> Projection:
    """Principal components of some counts, fitted once for the baselines that read them."""
    project = _projections.get((id(counts), seed))
    if project is None:
        fitted = leading_components(_float32(counts), COMPONENTS, seed)

        # Its key is theirs alone while it keeps the counts alive; their own scores are known.
        def project(more: Any, own: Any = counts) -> NDArray[np.float32]:
            return fitted.scores if more is own else fitted.place(_float32(more))

        _projections[id(counts), seed] = project
    return project


def _through(project: Callable[[Any], Any], predictor: Predictor) -> Predictor:
    return Fitted(predictor.classes, lambda more: predictor.predict_proba(project(more)))


def _fitted(model: Any, prepare: Callable[[Any], Any], table: Any, names: NDArray[np.str_]) -> Predictor:
    """Fit a classifier of scikit-learn; one class needs none."""
    if len(np.unique(names)) == 1:
        return fit_majority(table, names)
    with unfinished():
        model.fit(prepare(table), names)
    return Fitted(np.asarray(model.classes_).astype(str), lambda more: model.predict_proba(prepare(more)))


@contextmanager
def unfinished() -> Iterator[None]:
    """Say nothing: a fit cut short is still a fair baseline, and few cells a type are meant."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


def _float32(counts: Any) -> Any:
    return log_normalised(counts).astype(np.float32)


def _names(table: Any, labels: ArrayLike) -> NDArray[np.str_]:
    names = np.asarray(labels).astype(str)
    if table.shape[0] != len(names) or not len(names):
        raise InputError(f"{table.shape[0]} cells came with {len(names)} labels; give one label a cell")
    return names


def l1_penalty() -> dict[str, Any]:
    """How this scikit-learn spells an L1 penalty: 1.8 renamed it."""
    from inspect import signature

    from sklearn.linear_model import LogisticRegression

    renamed = signature(LogisticRegression).parameters["penalty"].default == "deprecated"
    return {"l1_ratio": 1.0} if renamed else {"penalty": "l1"}
