"""Integration metrics of scIB (Luecken et al., Nature Methods 2022).

Dimensions: ``n`` cells · ``d`` width of a vector · ``k`` nearest neighbours.

All metrics are rescaled to 0 (bad) to 1 (good). Neighbours and distances are Euclidean, as scIB defines them.
LISI and graph connectivity are taken by scib-metrics. Its k-means, silhouettes and regression on principal
components compile a program for every embedding, which takes many times longer than the sums themselves; here
scikit-learn and numpy take them by the same definitions, and tests hold them against scib-metrics.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError
from biolm.extras import advice
from biolm.scoring.baselines import unfinished

__all__ = [
    "BATCH_METRICS",
    "BIO_METRICS",
    "EXPLAIN",
    "integration_metrics",
    "need_library",
    "silhouette_batch",
]

EXPLAIN = {
    "NMI": "Normalised mutual information of k-means clusters (the best of ten starts) with the "
    "labels. Not 0 by chance: see the row of shuffled labels.",
    "ARI": "Adjusted Rand index of k-means clusters with the labels; 0 by chance.",
    "Silhouette label": "Mean silhouette width of the labels, (s + 1) / 2; 0.5 by chance.",
    "cLISI": "Local purity of the labels among neighbours, 1 where each cell meets its own type alone.",
    "Silhouette batch": "1 - |silhouette of batches within a type|, 1 where batches lie alike.",
    "iLISI": "Local mixing of batches among neighbours, 1 where all batches mix evenly.",
    "Graph connectivity": "Fraction of each type's cells in its largest connected part of the graph.",
    "PCR": "Variance explained by batch that was removed, against principal components of the counts. Noise "
    "dilutes a batch as well (random numbers score high), so it is no part of Batch.",
    "Bio": "Mean of NMI, ARI, silhouette label and cLISI.",
    "Batch": "Mean of silhouette batch, iLISI and graph connectivity.",
    "Total": "0.6 Bio + 0.4 Batch, as scIB weighs them; scIB counts PCR in Batch.",
}
"""What each metric says, in one sentence."""
BIO_METRICS = ("NMI", "ARI", "Silhouette label", "cLISI")
BATCH_METRICS = ("Silhouette batch", "iLISI", "Graph connectivity")
# Neighbours as scIB takes them: for LISI (perplexity 30), and for the graph.
LISI_NEIGHBOURS, GRAPH_NEIGHBOURS = 90, 15

Metrics = dict[str, float | None]


def need_library() -> None:
    """Refuse to begin without scib-metrics.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    if find_spec("scib_metrics") is None:
        raise ConfigError(
            f"integration metrics need scib-metrics: {advice('eval')}, or leave out (`integration=False`)"
        )


def integration_metrics(
    vectors: NDArray[np.float32],
    labels: NDArray[np.str_],
    batch: NDArray[np.str_] | None = None,
    *,
    before: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Metrics:
    """Every metric of one embedding.

    Parameters
    ----------
    vectors
        ``(n, d)``.
    labels, batch
        ``(n,)`` names; without ``batch`` the metrics of batches, their mean and the total are None.
    before
        ``(n, d')`` principal components of the counts, to compare the variance of batch with.
    seed
        Seeds the k-means.

    Returns
    -------
    A value from 0 to 1 of each name in :data:`EXPLAIN` (ARI may lie below 0).

    Raises
    ------
    ConfigError
        If scib-metrics is not installed.
    """
    need_library()
    with _quiet():
        import scib_metrics
        from scib_metrics.nearest_neighbors import NeighborsResults
        from sklearn.metrics import silhouette_score

        indices, distances = _neighbours(vectors)
        near = NeighborsResults(indices=indices, distances=distances)
        graph = NeighborsResults(
            indices=indices[:, :GRAPH_NEIGHBOURS].copy(), distances=distances[:, :GRAPH_NEIGHBOURS].copy()
        )
        metrics: Metrics = dict.fromkeys(EXPLAIN)
        metrics["NMI"], metrics["ARI"] = _clusters(vectors, labels, seed)
        metrics["Silhouette label"] = (float(silhouette_score(vectors, labels)) + 1) / 2
        metrics["cLISI"] = float(scib_metrics.clisi_knn(near, labels))
        metrics["Graph connectivity"] = float(scib_metrics.graph_connectivity(graph, labels))
        if batch is not None:
            metrics["Silhouette batch"] = silhouette_batch(vectors, labels, batch)
            metrics["iLISI"] = float(scib_metrics.ilisi_knn(near, batch))
            if before is not None:
                metrics["PCR"] = _removed(before, vectors, batch)
    return _with_means(metrics)


def silhouette_batch(
    vectors: NDArray[np.float32], labels: NDArray[np.str_], batch: NDArray[np.str_]
) -> float | None:
    """Mean over types of the mean of ``1 - |s|``, where ``s`` is a cell's silhouette by batch in its type.

    Types of one batch alone, or with every cell in a batch of its own, say nothing; None if all are such.

    Parameters
    ----------
    vectors
        ``(n, d)``.
    labels, batch
        ``(n,)``.
    """
    from sklearn.metrics import silhouette_samples

    means = []
    for name in np.unique(labels):
        rows = np.flatnonzero(labels == name)
        batches = len(np.unique(batch[rows]))
        # Silhouettes need at least two batches, and a batch of more than one cell.
        if 1 < batches < len(rows):
            # In float64: distances of near-equal float32 vectors cancel.
            widths = silhouette_samples(vectors[rows].astype(np.float64), batch[rows])
            means.append(float((1 - np.abs(widths)).mean()))
    return float(np.mean(means)) if means else None


def _clusters(vectors: NDArray[np.float32], labels: NDArray[np.str_], seed: int) -> tuple[float, float]:
    """NMI and ARI of the labels with as many k-means clusters as there are types."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    with unfinished():
        clusters = KMeans(len(np.unique(labels)), n_init=10, random_state=seed).fit_predict(vectors)
    return float(normalized_mutual_info_score(labels, clusters)), float(adjusted_rand_score(labels, clusters))


def _removed(
    before: NDArray[np.float32], after: NDArray[np.float32], batch: NDArray[np.str_]
) -> float | None:
    """Fraction of the batch's part in the variance that was removed; None where it had none."""
    first, last = (_share_of_batch(vectors, batch) for vectors in (before, after))
    return max(0.0, (first - last) / first) if first > 0 else None


def _share_of_batch(vectors: NDArray[np.float32], batch: NDArray[np.str_]) -> float:
    """Variance between batches over all variance: the regression on every principal component at once."""
    table = vectors.astype(np.float64)
    table -= table.mean(0)
    total = float((table**2).sum())
    between = 0.0
    for name in np.unique(batch):
        rows = table[batch == name]
        between += len(rows) * float((rows.mean(0) ** 2).sum())
    return between / total if total else 0.0


def _neighbours(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """``(n, k)`` indices and distances, each cell its own first neighbour."""
    from sklearn.neighbors import NearestNeighbors

    k = min(LISI_NEIGHBOURS, len(vectors) - 1)
    distances, indices = NearestNeighbors(n_neighbors=k).fit(vectors).kneighbors(vectors)
    # Cells with equal vectors may come before the cell itself.
    for row in np.flatnonzero(indices[:, 0] != np.arange(len(vectors))):
        place = np.flatnonzero(indices[row] == row)
        indices[row, place[0] if len(place) else -1] = indices[row, 0]
        indices[row, 0] = row
    return indices, distances


def _with_means(metrics: Metrics) -> Metrics:
    metrics["Bio"] = _mean([metrics[name] for name in BIO_METRICS])
    batch = [metrics[name] for name in BATCH_METRICS]
    # Without batches there is nothing to mix, so neither Batch nor Total exists.
    if metrics["iLISI"] is None:
        return metrics
    metrics["Batch"] = _mean(batch)
    bio, rest = metrics["Bio"], metrics["Batch"]
    metrics["Total"] = 0.6 * bio + 0.4 * rest if bio is not None and rest is not None else None
    return metrics


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings of the library about its own libraries, and about a score below 0 that it sets to 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
