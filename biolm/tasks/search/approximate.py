"""Approximate neighbours for millions of cells, with faiss; distances stay exact.

Dimensions: ``q`` query cells · ``n`` reference cells · ``d`` width · ``k`` neighbours · ``w`` candidates.

faiss names candidates, and :func:`biolm.tasks.search.exact.refine` computes their distances from the
stored vectors. What is approximate is thus only which cells are found; the fraction of true neighbours found
on a sample is stored with the index.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, ConfigError
from biolm.extras import advice

__all__ = ["KINDS", "candidates", "make_graph", "read_graph", "write_graph"]

KINDS = ("exact", "hnsw", "ivf")

_ADD_ROWS = 65_536
_LINKS = 32
_BREADTH = 128  # places looked at when a cell is added or searched in the graph
_TRAIN_PER_LIST = 64
_PROBED = 16  # lists searched of an inverted file
_SPARE = 2  # candidates asked for, in multiples of k


def make_graph(
    vectors: NDArray[np.float32],
    kind: str,
    *,
    seed: int,
    threads: int,
    leave_out: NDArray[np.bool_] | None = None,
) -> Any:
    """Build a faiss index over ``(n, d)`` vectors.

    Parameters
    ----------
    vectors
        In memory or mapped from a file; added block by block.
    kind
        ``hnsw`` (a graph of near cells: fast, most memory) or ``ivf`` (lists around k-means centres).
    seed
        Seeds the sample and the k-means of ``ivf``.
    threads
        Of ``hnsw``: with more than one, which links are made depends on timing.
    leave_out
        ``(n,)`` rows that are not added; the others are numbered without them.

    Raises
    ------
    ConfigError
        If faiss is not installed.
    """
    faiss = _faiss()
    width = vectors.shape[1]
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(width, _LINKS)
        graph.hnsw.efConstruction = graph.hnsw.efSearch = _BREADTH
    else:
        # faiss advises 4 sqrt(n) lists, and warns below 39 vectors a list.
        lists = max(1, min(int(4 * math.sqrt(len(vectors))), len(vectors) // 39))
        graph = faiss.index_factory(width, f"IVF{lists},Flat")
        graph.cp.seed = seed
        graph.nprobe = min(_PROBED, lists)
        count = min(len(vectors), lists * _TRAIN_PER_LIST)
        sample = np.sort(np.random.default_rng(seed).choice(len(vectors), count, replace=False))
        graph.train(np.ascontiguousarray(vectors[sample], np.float32))
    # Threads add cells to the graph in an order of their own; one thread makes the same graph each time.
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        for start in range(0, len(vectors), _ADD_ROWS):
            part = np.asarray(vectors[start : start + _ADD_ROWS], np.float32)
            if leave_out is not None:
                part = part[~leave_out[start : start + _ADD_ROWS]]
            graph.add(np.ascontiguousarray(part))
    finally:
        faiss.omp_set_num_threads(before)
    return graph


def candidates(graph: Any, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """``(q, w)`` rows that are probably near, -1 where fewer were found.

    Parameters
    ----------
    graph
        The index.
    queries
        ``(q, d)``.
    k
        Neighbours that are wanted.
    """
    # One more than asked for: a cell of the index finds itself.
    wanted = min(_SPARE * k + 1, graph.ntotal)
    if hasattr(graph, "hnsw"):
        graph.hnsw.efSearch = max(_BREADTH, 2 * wanted)
    rows = graph.search(np.ascontiguousarray(queries, np.float32), wanted)[1]
    return np.asarray(rows, np.int64)


def write_graph(graph: Any, path: Path) -> None:
    """Write a faiss index to a file.

    Parameters
    ----------
    graph
        The index.
    path
        File to write.
    """
    _faiss().write_index(graph, str(path))


def read_graph(path: Path) -> Any:
    """Read a faiss index.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged.
    """
    faiss = _faiss()
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path} cannot be read as a faiss index; build the index again") from error


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            f"an approximate index needs faiss: {advice('search')}, or use `index='exact'`"
        ) from error
    return faiss
