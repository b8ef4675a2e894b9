"""Retrieval: how high the relevant documents stand, with what chance gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

__all__ = ["retrieval_scores"]


def retrieval_scores(
    similarity: NDArray[np.floating], relevant: Sequence[Sequence[int]], *, k: Sequence[int] = (1, 10)
) -> dict[str, float]:
    """Recall at k, mean reciprocal rank, mean average precision and nDCG at 10.

    Documents of equal similarity share their ranks: an item's rank is the mean of those of its ties.

    Parameters
    ----------
    similarity
        ``(q, n)`` of queries to documents.
    relevant
        Documents that answer each query.
    k
        Cut-offs of recall.

    Examples
    --------
    >>> scores = retrieval_scores(np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4]]), [[0], [1]])
    >>> scores["recall@1"], scores["mrr"], round(scores["chance recall@1"], 2)
    (0.5, 0.75, 0.33)
    """
    if len(similarity) != len(relevant):
        raise InputError(f"{len(similarity)} queries and {len(relevant)} lists of relevant documents")
    by_metric: dict[str, list[float]] = {}
    documents = similarity.shape[1]
    for row, wanted in zip(similarity, relevant, strict=True):
        if not len(wanted):
            raise InputError("a query has no relevant document; take it out")
        higher = (row[None, :] > row[list(wanted)][:, None]).sum(1)
        equal = (row[None, :] == row[list(wanted)][:, None]).sum(1)
        # Equal similarities share their mean rank, or constant scores would gain by the order of the file.
        ranks = np.sort(higher + (equal + 1) / 2)
        for cut in k:
            by_metric.setdefault(f"recall@{cut}", []).append(float((ranks <= cut).mean()))
            by_metric.setdefault(f"chance recall@{cut}", []).append(min(1.0, cut / documents))
        by_metric.setdefault("mrr", []).append(float(1 / ranks[0]))
        by_metric.setdefault("map", []).append(float((np.arange(1, len(ranks) + 1) / ranks).mean()))
        gains = (1 / np.log2(1 + ranks[ranks <= 10])).sum()
        ideal = (1 / np.log2(1 + np.arange(1, min(10, len(ranks)) + 1))).sum()
        by_metric.setdefault("ndcg@10", []).append(float(gains / ideal))
    return {name: float(np.mean(values)) for name, values in by_metric.items()}
